//! Every recorded error, row by row (rows NET-10 to NET-15, ERR-01 to ERR-10).

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::time::Duration;

use lamina_client::llb::State;
use lamina_proto::control;
use lamina_proto::control::SolveRequest;
use lamina_proto::pb;
use serde_json::Value;

use super::Wire;
use super::compare::masked;
use super::compare::recorded;
use super::compare::shown;
use super::requests::DOCKERFILES;
use super::requests::REQUESTS;
use super::requests::option;
use super::with_daemon;
use super::with_flags;
use crate::harness::Lamina;

/// Rows that are no answers to Solve; [`the_other_recorded_calls`] asks for them.
const OTHER: &[&str] = &[
    "Status of an unknown ref",
    "UpdateBuildHistory delete unknown",
    "no definition, no frontend",
];

/// Compares answers with the recording; all differences are told at once.
fn compare(answers: Vec<(&str, Value)>) {
    let mut wrong = Vec::new();
    for (name, ours) in answers {
        let theirs = masked(recorded(&["errors", name]).clone());
        assert!(!theirs.is_null(), "{name} is not in the recording");
        let ours = masked(ours);
        if ours != theirs {
            wrong.push(format!("{name}\n    ours   {ours}\n    theirs {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn answer(wire: &Wire, request: SolveRequest) -> Value {
    match wire.solve(request).await {
        Ok(_) => "success".into(),
        Err(status) => shown(&status),
    }
}

fn request(wire: &Wire, name: &str) -> SolveRequest {
    SolveRequest {
        r#ref: name.replace(' ', "-"),
        session: wire.session.clone(),
        ..SolveRequest::default()
    }
}

#[test]
fn every_recorded_request_is_asked_for() {
    let rows = recorded(&["errors"]).as_object().expect("rows");
    let asked = REQUESTS.iter().map(|row| row.0);
    let asked = asked.chain(DOCKERFILES.iter().map(|row| row.0));
    let mut asked: Vec<&str> = asked.chain(OTHER.iter().copied()).collect();
    asked.sort_unstable();
    let mut names: Vec<&str> = rows.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(asked, names);
}

/// Rows CSOL-01 to CSOL-14, ERR-01, ERR-06, NET-14.
#[test]
fn recorded_definitions_fail_as_recorded() {
    with_daemon(async |wire: &Wire| {
        let mut answers = Vec::new();
        for (name, change) in REQUESTS {
            let mut request = request(wire, name);
            change(&mut request);
            answers.push((*name, answer(wire, request).await));
        }
        compare(answers);
    });
}

/// Rows ERR-01, ERR-02, ERR-06, ERR-08, ERR-10.
///
/// The Dockerfile comes as an input, made by the op that the recording shows, so that even the
/// definition inside an excerpt is the same to the byte.
#[test]
fn recorded_dockerfiles_fail_as_recorded() {
    with_flags(with_empty_hub, async |wire: &Wire| {
        let mut answers = Vec::new();
        for (name, text, options) in DOCKERFILES {
            let mut request = request(wire, name);
            request.frontend = "dockerfile.v0".to_owned();
            let dockerfile = recorded_dockerfile(recorded(&["errors", name]));
            let file = || State::scratch().mkfile("/Dockerfile", 0o644, *text);
            let dockerfile = dockerfile.unwrap_or_else(|| file().definition());
            for input in ["context", "dockerfile"] {
                let inputs = &mut request.frontend_inputs;
                inputs.insert(input.to_owned(), dockerfile.clone());
            }
            for (key, value) in *options {
                option(&mut request, key, value);
            }
            answers.push((*name, answer(wire, request).await));
        }
        compare(answers);
    });
}

/// The definition that a recorded error says its Dockerfile came from.
fn recorded_dockerfile(error: &Value) -> Option<pb::Definition> {
    let details = error["details"].as_array()?;
    let text = details.iter().find_map(|detail| {
        let url = detail["type_url"].as_str()?;
        url.ends_with("errdefs.Source+json")
            .then(|| detail["value"].as_str())?
    });
    let source: Value = serde_json::from_str(text?).expect("JSON");
    let bytes = source["info"]["definition"]["def"].as_array()?.iter();
    let decode = |op: &Value| {
        use base64::Engine as _;
        let text = op.as_str().expect("text");
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .expect("base64")
    };
    let mut definition = pb::Definition {
        def: bytes.map(decode).collect(),
        ..pb::Definition::default()
    };
    describe(&mut definition, &source["info"]["definition"]);
    Some(definition)
}

/// Takes over what the recording says of the ops beside their bytes.
fn describe(definition: &mut pb::Definition, recorded: &Value) {
    for (digest, metadata) in recorded["metadata"].as_object().into_iter().flatten() {
        let caps = metadata["caps"].as_object().into_iter().flatten();
        let metadata = pb::OpMetadata {
            caps: caps.map(|(id, _)| (id.clone(), true)).collect(),
            ..pb::OpMetadata::default()
        };
        definition.metadata.insert(digest.clone(), metadata);
    }
    let locations = recorded["Source"]["locations"].as_object();
    let locations = locations.into_iter().flatten();
    definition.source = Some(pb::Source {
        locations: locations
            .map(|(digest, _)| (digest.clone(), pb::Locations::default()))
            .collect(),
        ..pb::Source::default()
    });
}

/// Has the names of `docker.io` looked up at a registry that has nothing.
fn with_empty_hub(lamina: &Lamina) -> Vec<String> {
    let registry = empty_registry();
    let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{registry}\"]\n");
    let path = lamina.write("buildkitd.toml", config);
    vec!["--config".to_owned(), path.display().to_string()]
}

/// Starts a server that answers everything with "not found", for as long as the tests run.
fn empty_registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let answer =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Whoever hangs up early gets no answer.
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                stream.write_all(answer).ok();
            }
        }
    });
    address
}

/// Rows CSTA-01, CTL-26, CSOL-03.
#[test]
fn the_other_recorded_calls() {
    with_daemon(async |wire: &Wire| {
        let unknown = control::StatusRequest {
            r#ref: "unknown".to_owned(),
        };
        let status = wire.control().status(unknown).await;
        let delete = control::UpdateBuildHistoryRequest {
            r#ref: "unknown".to_owned(),
            delete: true,
            ..control::UpdateBuildHistoryRequest::default()
        };
        let deleted = wire.control().update_build_history(delete).await;
        compare(vec![
            (OTHER[0], shown(&status.expect_err("no such build"))),
            (OTHER[1], shown(&deleted.expect_err("no such build"))),
        ]);
        // The recorded error is the client's own: the build waits for somebody who drives it.
        let driven = wire.solve(request(wire, OTHER[2]));
        let waited = tokio::time::timeout(Duration::from_secs(1), driven).await;
        assert!(
            waited.is_err(),
            "a build that nobody drives has ended: {waited:?}"
        );
    });
}
