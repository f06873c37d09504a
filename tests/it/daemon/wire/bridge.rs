//! What is left of failed steps, and LLBBridge in its old forms (rows ERR-03, ERR-04, GW-16 to GW-18).

use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_client::llb::State;
use lamina_proto::control::SolveRequest;
use lamina_proto::gateway;
use lamina_proto::gateway::result::Result as Refs;
use serde_json::Value;
use serde_json::json;

use super::Wire;
use super::base_tree;
use super::of_build;
use super::of_definition;
use super::requests::export;
use super::requests::file;
use super::requests::two_actions;
use super::with_daemon;

fn failure<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Box<Failure> {
    match answer {
        Err(ClientError::Daemon(failure)) => failure,
        other => panic!("no failure of the daemon: {other:?}"),
    }
}

/// Returns the names of the details, and `errdefs.Solve`.
fn left_of(failure: &Failure) -> (Vec<&str>, Value) {
    let names = failure.details.iter().map(|(url, _)| {
        let name = url.strip_prefix("github.com/moby/buildkit/");
        name.and_then(|name| name.strip_suffix("+json"))
            .expect("a type of BuildKit's")
    });
    let names: Vec<&str> = names.collect();
    let at = names.iter().position(|name| *name == "errdefs.Solve");
    let (_, value) = &failure.details[at.expect("what is left")];
    (names, serde_json::from_slice(value).expect("JSON"))
}

fn id(left: &Value, key: &str, index: usize) -> String {
    left[key][index].as_str().expect("an id").to_owned()
}

/// Row ERR-03: what a process has left can be read, and what it began with still is as it was.
#[test]
fn what_a_failed_process_left_can_be_read() {
    with_daemon(async |wire: &Wire| {
        let script = "echo dirt > /dirt; echo more > /m/dirt; exit 3";
        let run = base_tree().run(["/bin/sh", "-c", script]);
        let run = run.mount_writable("/m", &file()).cache("/c", "c");
        let state = run.root();
        let request = gateway::SolveRequest {
            evaluate: true,
            ..of_definition(&state)
        };
        let failed = failure(wire.gateway.solve(request).await);
        let (names, left) = left_of(&failed);
        let expected = ["errdefs.Solve", "errdefs.Vertex", "gatewayapi.ExitMessage"];
        assert_eq!(names, expected);
        assert_eq!(failed.vertex.as_deref(), state.vertex());
        assert_eq!(failed.exit_code, Some(3));
        assert_eq!(left["op"]["exec"]["meta"]["args"][2], script);
        assert_eq!(left["inputIDs"].as_array().map(Vec::len), Some(3));
        assert_eq!(left["mountIDs"].as_array().map(Vec::len), Some(3));

        let gateway = &wire.gateway;
        let dirty = id(&left, "mountIDs", 0);
        let read = gateway.read_file(&dirty, "/dirt", None).await;
        assert_eq!(read.expect("left by the process"), b"dirt\n");
        let dirty = id(&left, "mountIDs", 1);
        let stat = gateway
            .stat_file(&dirty, "dirt")
            .await
            .expect("left by the process");
        assert_eq!((stat.path.as_str(), stat.size), ("dirt", 5));
        let names = gateway.read_dir(&dirty, "/", "").await.expect("listed");
        let names: Vec<&str> = names.iter().map(|stat| stat.path.as_str()).collect();
        assert_eq!(names, ["dirt", "f"]);
        let clean = id(&left, "inputIDs", 0);
        failure(gateway.stat_file(&clean, "/dirt").await);
        gateway
            .stat_file(&clean, "/etc/passwd")
            .await
            .expect("as it was");

        // Whichever call finds it (row GW-24).
        let lazy = wire.reference(&state).await;
        let evaluated = failure(gateway.evaluate(&lazy).await);
        assert_eq!(left_of(&evaluated).0, expected);
        let read = failure(gateway.read_file(&lazy, "/dirt", None).await);
        let again = id(&left_of(&read).1, "mountIDs", 0);
        let read = gateway.read_file(&again, "/dirt", None).await;
        assert_eq!(read.expect("left by the process"), b"dirt\n");
    });
}

/// Row ERR-04: the first action's result is there, and the second is the one that failed.
#[test]
fn what_a_failed_file_action_left_can_be_read() {
    with_daemon(async |wire: &Wire| {
        let request = gateway::SolveRequest {
            evaluate: true,
            ..of_definition(&two_actions())
        };
        let failed = failure(wire.gateway.solve(request).await);
        let (names, left) = left_of(&failed);
        assert_eq!(names, ["errdefs.Solve", "errdefs.Vertex"]);
        assert_eq!(left["file"], json!({"index": "1"}));
        assert_eq!(left["mountIDs"].as_array().map(Vec::len), Some(2));
        let half_done = id(&left, "mountIDs", 1);
        let stat = wire.gateway.stat_file(&half_done, "/d").await;
        assert_eq!(stat.expect("made by the first action").path, "d");
    });
}

/// Row GW-23: references of one build mean nothing to another.
#[test]
fn references_are_of_one_build() {
    with_daemon(async |wire: &Wire| {
        let session = std::sync::Arc::new(lamina_session::LocalSession::builder().build());
        let request = lamina_client::BuildRequest::new(session);
        let (other, held) = super::hold(&wire.client, request).await;
        let reference = wire.reference(&file()).await;
        let error = failure(other.stat_file(&reference, "/f").await);
        assert_eq!(error.message, format!("no such ref: {reference}"));
        wire.gateway
            .stat_file(&reference, "/f")
            .await
            .expect("its own");
        held.release().await.expect("released");
    });
}

/// Rows GW-16 and GW-17: clients that know no results, no definitions of references, or both.
#[test]
fn old_clients_get_references_as_text() {
    with_daemon(async |wire: &Wire| {
        for (name, results, arrays) in [
            ("new", true, true),
            ("no definitions", true, false),
            ("no results", false, false),
        ] {
            let request = gateway::SolveRequest {
                allow_result_return: results,
                allow_result_array_ref: arrays,
                ..of_definition(&file())
            };
            let answer = wire.bridge().solve(of_build(&wire.session, request)).await;
            let answer = answer.expect("solved").into_inner();
            let refs = answer.result.and_then(|result| result.result);
            let id = match (&refs, arrays) {
                (Some(Refs::Ref(one)), true) => {
                    let definition = one.def.as_ref().expect("how to make it again");
                    assert_eq!(definition.def, file().definition().def, "{name}");
                    one.id.clone()
                }
                (Some(Refs::RefDeprecated(id)), false) => id.clone(),
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(answer.r#ref, if results { "" } else { &id }, "{name}");
            let stat = wire.gateway.stat_file(&id, "/f").await;
            assert_eq!(stat.expect("there").size, 7, "{name}");
        }
    });
}

/// Row GW-16: several trees do not fit into one text.
#[test]
fn old_clients_cannot_have_several_trees() {
    with_daemon(async |wire: &Wire| {
        let dockerfile = State::scratch().mkfile("/Dockerfile", 0o644, "FROM scratch\nCOPY . /\n");
        let inputs = ["context", "dockerfile"].map(|name| {
            let definition = dockerfile.definition();
            (name.to_owned(), definition)
        });
        let two = ("platform".to_owned(), "linux/amd64,linux/arm64".to_owned());
        let mut request = gateway::SolveRequest {
            frontend: "dockerfile.v0".to_owned(),
            frontend_opt: [two].into(),
            frontend_inputs: inputs.into(),
            ..gateway::SolveRequest::default()
        };
        let refused = wire
            .bridge()
            .solve(of_build(&wire.session, request.clone()))
            .await;
        let refused = refused.expect_err("two trees");
        assert_eq!(refused.message(), "solve did not return default result");
        request.allow_result_return = true;
        let answer = wire.bridge().solve(of_build(&wire.session, request)).await;
        let result = answer.expect("solved").into_inner().result;
        let Some(Refs::RefsDeprecated(map)) = result.and_then(|result| result.result) else {
            panic!("no map of texts");
        };
        let platforms: Vec<&str> = map.refs.keys().map(String::as_str).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    });
}

/// Row GW-18: the last Solve of clients from before `Return` gives the result and its metadata.
#[test]
fn old_clients_return_with_their_last_solve() {
    with_daemon(async |wire: &Wire| {
        let id = "final";
        let mut build = SolveRequest {
            r#ref: id.to_owned(),
            session: wire.session.clone(),
            ..SolveRequest::default()
        };
        export(&mut build, "image", &[("name", "docker.io/library/old:1")]);
        // {"frontend.note":"hi"}, values in base64.
        let request = gateway::SolveRequest {
            r#final: true,
            exporter_attr: br#"{"frontend.note":"aGk="}"#.to_vec(),
            ..of_definition(&file())
        };
        let mut bridge = wire.bridge();
        let (built, solved) = tokio::join!(wire.solve(build), bridge.solve(of_build(id, request)));
        assert!(!solved.expect("solved").into_inner().r#ref.is_empty());
        let response = built.expect("built");
        assert_eq!(response["image.name"], "docker.io/library/old:1");
        assert_eq!(response["frontend.note"], "hi");
    });
}
