//! Builds that clients drive through LLBBridge on the daemon socket (rows CSOL-03, NET-07, NET-08).

use std::time::Duration;
use std::time::Instant;

use lamina_proto::control;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::gateway::result;
use lamina_proto::pb;
use lamina_proto::rpc;
use prost::Message as _;
use tonic::Code;
use tonic::Request;
use tonic::transport::Channel;

use crate::block_on;
use crate::daemon::daemon;
use crate::harness::Outcome;

/// A call for the build `id`.
pub(crate) fn call<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = id.parse().expect("a value");
    request
        .metadata_mut()
        .insert("buildkit-controlapi-buildid", id);
    request
}

pub(crate) fn driven(id: &str) -> control::SolveRequest {
    control::SolveRequest {
        r#ref: id.to_owned(),
        ..control::SolveRequest::default()
    }
}

/// A definition of one file.
pub(crate) fn file(path: &str, data: &[u8]) -> pb::Definition {
    let make = pb::FileActionMkFile {
        path: path.to_owned(),
        mode: 0o644,
        data: data.to_vec(),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    };
    let action = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkfile(make)),
    };
    let op = pb::Op {
        op: Some(pb::op::Op::File(pb::FileOp {
            actions: vec![action],
        })),
        ..pb::Op::default()
    };
    let op = op.encode_to_vec();
    let end = pb::Op {
        inputs: vec![pb::Input {
            digest: lamina_types::Digest::of(&op).to_string(),
            index: 0,
        }],
        ..pb::Op::default()
    };
    pb::Definition {
        def: vec![op, end.encode_to_vec()],
        ..pb::Definition::default()
    }
}

pub(crate) async fn solve(client: &mut LlbBridgeClient<Channel>, id: &str, data: &[u8]) -> String {
    let request = gateway::SolveRequest {
        definition: Some(file("/f", data)),
        allow_result_return: true,
        allow_result_array_ref: true,
        ..gateway::SolveRequest::default()
    };
    let solved = client.solve(call(id, request)).await.expect("solved");
    match solved.into_inner().result.expect("a result").result {
        Some(result::Result::Ref(one)) => one.id,
        other => panic!("{other:?}"),
    }
}

/// A whole build: solve, read, return; and references are of one build only (row GW-23).
pub(crate) fn clients_drive_their_builds() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut control = daemon.control().await;
        let mut other = control.clone();
        let first = tokio::spawn(async move { control.solve(driven("one")).await });
        let second = tokio::spawn(async move { other.solve(driven("two")).await });
        let mut client = LlbBridgeClient::new(daemon.connect().await);
        client
            .ping(call("one", gateway::PingRequest {}))
            .await
            .expect("pong");
        let id = solve(&mut client, "one", b"data").await;
        let read = |id: &str| gateway::ReadFileRequest {
            r#ref: id.to_owned(),
            file_path: "f".to_owned(),
            ..gateway::ReadFileRequest::default()
        };
        let answer = client
            .read_file(call("one", read(&id)))
            .await
            .expect("read");
        assert_eq!(answer.into_inner().data, b"data");
        client
            .read_file(call("two", read(&id)))
            .await
            .expect_err("not of that build");

        let result = gateway::Result {
            result: Some(result::Result::Ref(gateway::Ref { id, def: None })),
            metadata: [("frontend.key".to_owned(), b"value".to_vec())].into(),
            ..gateway::Result::default()
        };
        let request = gateway::ReturnRequest {
            result: Some(result),
            error: None,
        };
        client.r#return(call("one", request)).await.expect("taken");
        let solved = first.await.expect("no panic").expect("built").into_inner();
        assert_eq!(solved.exporter_response["frontend.key"], "value");

        let error = rpc::Status {
            code: 9,
            message: "no".to_owned(),
            details: vec![prost_types::Any {
                type_url: "example.com/x".to_owned(),
                value: vec![1],
            }],
        };
        let request = gateway::ReturnRequest {
            result: None,
            error: Some(error.clone()),
        };
        client.r#return(call("two", request)).await.expect("taken");
        let status = second
            .await
            .expect("no panic")
            .expect_err("the client's error");
        let returned = rpc::Status::decode(status.details()).expect("details");
        assert_eq!(returned, error);
        Outcome::Passed
    })
}

/// Row NET-08: clients start both calls at once.
pub(crate) fn calls_may_come_before_the_build() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut client = LlbBridgeClient::new(daemon.connect().await);
        let early =
            tokio::spawn(async move { client.ping(call("late", gateway::PingRequest {})).await });
        // The call is on its way before the build: another connection has answered meanwhile.
        let mut control = daemon.control().await;
        control
            .info(control::InfoRequest {})
            .await
            .expect("answers");
        let building = tokio::spawn(async move { control.solve(driven("late")).await });
        early.await.expect("no panic").expect("pong");
        building.abort();
        Outcome::Passed
    })
}

/// Rows NET-07, ERR-15.
pub(crate) fn unknown_builds_are_not_found() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut client = LlbBridgeClient::new(daemon.connect().await);
        let status = client
            .ping(gateway::PingRequest {})
            .await
            .expect_err("no id");
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(
            status.message(),
            "forwarding Ping: no buildid found in context"
        );
        let mut twice = call("a", gateway::PingRequest {});
        let key = "buildkit-controlapi-buildid";
        twice
            .metadata_mut()
            .append(key, "b".parse().expect("a value"));
        client.ping(twice).await.expect_err("two ids");

        let started = Instant::now();
        let status = client.ping(call("nope", gateway::PingRequest {})).await;
        let status = status.expect_err("unknown");
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "forwarding Ping: no such job nope");
        assert!(started.elapsed() >= Duration::from_secs(3));
        Outcome::Passed
    })
}

/// Row NET-17.
pub(crate) fn a_dropped_call_ends_the_build() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut control = daemon.control().await;
        let mut again = control.clone();
        let building = tokio::spawn(async move { control.solve(driven("gone")).await });
        let mut client = LlbBridgeClient::new(daemon.connect().await);
        client
            .ping(call("gone", gateway::PingRequest {}))
            .await
            .expect("pong");
        building.abort();
        let status = again.status(control::StatusRequest {
            r#ref: "gone".to_owned(),
        });
        let status = status.await.expect("followed");
        // Row NET-09.
        assert!(status.metadata().contains_key("buildkit-current-timestamp"));
        let mut status = status.into_inner();
        while status.message().await.expect("ends well").is_some() {}
        let history = again.listen_build_history(control::BuildHistoryRequest {
            r#ref: "gone".to_owned(),
            ..control::BuildHistoryRequest::default()
        });
        let mut history = history.await.expect("listed").into_inner();
        // The record is complete a moment after the last message of the status.
        let record = loop {
            let event = history
                .message()
                .await
                .expect("an event")
                .expect("one more");
            if event.r#type() == control::BuildHistoryEventType::Complete {
                break event.record.expect("a record");
            }
        };
        let error = record.error.expect("an error").message;
        assert!(error.contains("context canceled"), "{error}");
        Outcome::Passed
    })
}
