//! Failing requests of Control, compared with what BuildKit answered.

use lamina_proto::control;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::pb;
use lamina_proto::rpc;
use prost_types::Any;
use serde_json::Value;
use tonic::transport::Channel;

use crate::block_on;
use crate::daemon::daemon;
use crate::driven::file;
use crate::harness::Outcome;
use crate::wire;

type Change = fn(&mut control::SolveRequest);

fn attrs(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

fn exporter(kind: &str, pairs: &[(&str, &str)]) -> control::Exporter {
    control::Exporter {
        r#type: kind.to_owned(),
        attrs: attrs(pairs),
    }
}

fn cache(kind: &str) -> control::CacheOptionsEntry {
    control::CacheOptionsEntry {
        r#type: kind.to_owned(),
        ..control::CacheOptionsEntry::default()
    }
}

/// Recorded names, and what each adds to a request that would succeed.
const REQUESTS: &[(&str, Change)] = &[
    ("empty definition", |request| {
        request.definition = Some(pb::Definition::default())
    }),
    ("one op only", |request| {
        if let Some(definition) = &mut request.definition {
            definition.def.remove(0);
        }
    }),
    ("unknown entitlement", |request| {
        request.entitlements = vec!["nope".to_owned()]
    }),
    ("unknown exporter", |request| {
        request.exporters = vec![exporter("nope", &[])]
    }),
    ("bad exporter attr", |request| {
        request.exporters = vec![exporter("image", &[("compression", "lzw")])];
    }),
    ("image exporter without name", |request| {
        request.exporters = vec![exporter("image", &[])]
    }),
    ("unknown cache exporter", |request| {
        request.cache.get_or_insert_default().exports = vec![cache("nope")];
    }),
    ("unknown cache importer", |request| {
        request.cache.get_or_insert_default().imports = vec![cache("nope")];
    }),
    ("unknown frontend", |request| {
        request.definition = None;
        request.frontend = "nope.v9".to_owned();
    }),
    ("gateway without source", |request| {
        request.definition = None;
        request.frontend = "gateway.v0".to_owned();
    }),
];

/// Whatever is an id of one machine or run is replaced.
fn normalised(mut answer: Value) -> Value {
    if answer.is_string() {
        return answer;
    }
    if let Some(message) = answer["message"].as_str().map(str::to_owned) {
        let words = message.split(' ').map(|word| match word.contains("::") {
            true => "ID::ID:",
            false => word,
        });
        answer["message"] = words.collect::<Vec<_>>().join(" ").into();
    }
    for detail in answer["details"].as_array_mut().into_iter().flatten() {
        let is_vertex = detail["type_url"]
            .as_str()
            .is_some_and(|url| url.contains("Vertex"));
        if is_vertex {
            detail["value"] = "VERTEX".into();
        }
    }
    answer
}

async fn answer(client: &mut ControlClient<Channel>, request: control::SolveRequest) -> Value {
    match client.solve(request).await {
        Ok(_) => "success".into(),
        Err(status) => normalised(wire::shown(&status)),
    }
}

/// Compares answers with the record; all differences are told at once.
fn compare(answers: Vec<(String, Value)>) {
    let recorded = wire::recorded();
    let differences: Vec<String> = answers
        .into_iter()
        .filter_map(|(name, ours)| {
            let theirs = normalised(recorded["errors"][&name].clone());
            let differs = ours != theirs;
            differs.then(|| format!("{name}\n    ours   {ours}\n    theirs {theirs}"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Rows CSOL-01 to CSOL-14, NET-14.
pub(crate) fn recorded_requests_fail_as_recorded() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut client = daemon.control().await;
        let mut answers = Vec::new();
        for (index, (name, change)) in REQUESTS.iter().enumerate() {
            let mut request = control::SolveRequest {
                r#ref: format!("build-{index}"),
                definition: Some(file("/f", b"x")),
                ..control::SolveRequest::default()
            };
            change(&mut request);
            answers.push(((*name).to_owned(), answer(&mut client, request).await));
        }
        let unknown = control::StatusRequest {
            r#ref: "unknown".to_owned(),
        };
        let status = client.status(unknown).await.expect_err("no such build");
        answers.push(("Status of an unknown ref".to_owned(), wire::shown(&status)));
        let delete = control::UpdateBuildHistoryRequest {
            r#ref: "unknown".to_owned(),
            delete: true,
            ..control::UpdateBuildHistoryRequest::default()
        };
        let status = client
            .update_build_history(delete)
            .await
            .expect_err("nothing to delete");
        answers.push((
            "UpdateBuildHistory delete unknown".to_owned(),
            wire::shown(&status),
        ));
        compare(answers);
        Outcome::Passed
    })
}

/// The definition that a recorded error says its Dockerfile came from.
fn recorded_dockerfile(error: &Value) -> Option<pb::Definition> {
    let details = error["details"].as_array()?;
    let details = details.iter().map(|detail| Any {
        type_url: detail["type_url"].as_str().unwrap_or_default().to_owned(),
        value: detail["value"]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
    });
    let status = rpc::Status {
        code: 2,
        message: String::new(),
        details: details.collect(),
    };
    let error = lamina_grpc::status::from_rpc(status)?;
    error.sources.into_iter().next()?.info.definition
}

/// Rows ERR-01, ERR-02, ERR-08, ERR-10: the Dockerfile comes as an input, as in the recording, so
/// that even the definition inside the excerpt is the same to the byte.
pub(crate) fn recorded_dockerfiles_fail_as_recorded() -> Outcome {
    let recorded = wire::recorded();
    block_on(async {
        let daemon = daemon!();
        let mut client = daemon.control().await;
        let mut answers = Vec::new();
        for (name, text, option) in [
            ("dockerfile: bad flag", "", None),
            ("dockerfile: unknown instruction", "", None),
            ("dockerfile: missing copy source", "", None),
            ("dockerfile: empty", "", None),
            (
                "dockerfile: unknown target",
                "FROM scratch AS a\nCOPY Dockerfile /\n",
                Some(("target", "b")),
            ),
            (
                "dockerfile: unknown subrequest",
                "FROM scratch\n",
                Some(("requestid", "frontend.nope")),
            ),
            (
                "dockerfile: fine",
                "FROM scratch\nCOPY Dockerfile /\n",
                None,
            ),
        ] {
            let dockerfile = recorded_dockerfile(&recorded["errors"][name]);
            let dockerfile = dockerfile.unwrap_or_else(|| file("/Dockerfile", text.as_bytes()));
            let mut request = control::SolveRequest {
                r#ref: name.to_owned(),
                frontend: "dockerfile.v0".to_owned(),
                ..control::SolveRequest::default()
            };
            request
                .frontend_attrs
                .extend(option.map(|(k, v)| (k.to_owned(), v.to_owned())));
            let context = dockerfile.clone();
            request
                .frontend_inputs
                .insert("context".to_owned(), context);
            request
                .frontend_inputs
                .insert("dockerfile".to_owned(), dockerfile);
            answers.push((name.to_owned(), answer(&mut client, request).await));
        }
        compare(answers);
        Outcome::Passed
    })
}

/// Rows CSOL-25, CSTA-01, CTL-20.
pub(crate) fn a_build_answers_and_is_remembered() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut client = daemon.control().await;
        let request = control::SolveRequest {
            r#ref: "kept".to_owned(),
            definition: Some(file("/f", b"x")),
            ..control::SolveRequest::default()
        };
        client.solve(request).await.expect("built");
        let status = client.status(control::StatusRequest {
            r#ref: "kept".to_owned(),
        });
        let mut status = status.await.expect("replayed").into_inner();
        let mut vertices = 0;
        while let Some(message) = status.message().await.expect("a message") {
            vertices += message.vertexes.len();
        }
        assert!(vertices > 0);
        let workers = client
            .list_workers(control::ListWorkersRequest::default())
            .await;
        assert_eq!(workers.expect("workers").into_inner().record.len(), 1);
        let usage = client
            .disk_usage(control::DiskUsageRequest::default())
            .await;
        usage.expect("usage");
        let prune = control::PruneRequest {
            all: true,
            ..control::PruneRequest::default()
        };
        let mut removed = client.prune(prune).await.expect("pruning").into_inner();
        while removed.message().await.expect("a record").is_some() {}
        Outcome::Passed
    })
}
