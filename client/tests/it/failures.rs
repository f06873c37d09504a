//! Errors of builds with their details, against what BuildKit answers (rows NET-10 to NET-13,
//! ERR-01, ERR-02, ERR-06).

use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_proto::rpc;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use prost::Message as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::Status;

use crate::daemon::Daemon;

const WIRE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/goldens/wire.json"
));

fn golden_errors() -> Vec<(String, Value)> {
    let wire: Value = serde_json::from_str(WIRE).expect("is JSON");
    let errors = wire["errors"].as_object().expect("an object").clone();
    errors
        .into_iter()
        .filter(|(_, row)| row.is_object())
        .collect()
}

fn details(row: &Value) -> Vec<(String, String)> {
    let details = row["details"].as_array().map(Vec::as_slice);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let details = details.unwrap_or_default().iter();
    details
        .map(|detail| (text(&detail["type_url"]), text(&detail["value"])))
        .collect()
}

fn status_of(row: &Value) -> Status {
    let any = |(type_url, value): (String, String)| prost_types::Any {
        type_url,
        value: value.into_bytes(),
    };
    let wire = rpc::Status {
        details: details(row).into_iter().map(any).collect(),
        ..rpc::Status::default()
    };
    let message = row["message"].as_str().expect("text");
    Status::with_details(Code::Unknown, message, wire.encode_to_vec().into())
}

async fn failure_of(status: Status) -> Failure {
    let daemon = Daemon::start(move |_, _| {
        let status = status.clone();
        async move { Err(status) }
    });
    let client = daemon.client().await;
    let request = BuildRequest::new(Arc::new(LocalSession::builder().build()));
    let (events, _kept) = mpsc::unbounded_channel();
    match client.solve(request, events, &CancelToken::new()).await {
        Err(ClientError::Daemon(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn golden_details_arrive_whole() {
    for (name, row) in golden_errors() {
        let failure = failure_of(status_of(&row)).await;
        assert_eq!(
            failure.message,
            row["message"].as_str().expect("text"),
            "{name}"
        );
        let found = failure.details.iter();
        let found: Vec<_> = found
            .map(|(url, value)| (url.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let wanted = details(&row);
        assert_eq!(found, wanted, "{name}");
        let of_kind = |kind: &str| {
            let url = format!("github.com/moby/buildkit/{kind}+json");
            wanted
                .iter()
                .filter(move |(found, _)| *found == url)
                .count()
        };
        assert_eq!(
            failure.vertex.is_some(),
            of_kind("errdefs.Vertex") > 0,
            "{name}"
        );
        assert_eq!(failure.sources.len(), of_kind("errdefs.Source"), "{name}");
        let exits = of_kind("gatewayapi.ExitMessage") > 0;
        assert_eq!(failure.exit_code.is_some(), exits, "{name}");
    }
}

#[tokio::test]
async fn the_place_in_the_file_is_read() {
    let errors = golden_errors();
    let row = errors
        .iter()
        .find(|(name, _)| name == "dockerfile: failing run");
    let failure = failure_of(status_of(&row.expect("is there").1)).await;
    assert_eq!(failure.exit_code, Some(3));
    let (info, ranges) = &failure.sources[0];
    assert_eq!(info.filename, "Dockerfile");
    assert_eq!(info.data, b"FROM base\nRUN echo hi && exit 3\n");
    assert_eq!(ranges[0].start.expect("a start").line, 2);
}
