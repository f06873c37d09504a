//! LLBBridge on a pipe, over a bridge in memory.

use std::sync::Arc;

use lamina_grpc::PipeServer;
use lamina_llb::Bridge;
use lamina_llb::BridgeServer as _;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Pipe;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::gateway::result;
use lamina_proto::pb;
use lamina_proto::rpc;
use lamina_types::Platform;
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::block_on;
use crate::bridge::FAILING;
use crate::bridge::GROUP;
use crate::bridge::MemoryBridge;
use crate::bridge::definition;
use crate::harness::Outcome;
use crate::wire;

pub(crate) type Client = LlbBridgeClient<Channel>;
pub(crate) type Returned = Option<Result<BuildResult, BuildError>>;

/// Serves `bridge` to `talk` and returns what came back through the pipe.
pub(crate) fn with_pipe<F, T>(bridge: MemoryBridge, talk: F) -> (Arc<MemoryBridge>, Returned, T)
where
    F: AsyncFnOnce(Channel) -> T,
{
    let bridge = Arc::new(bridge);
    let served = Arc::clone(&bridge) as Arc<dyn Bridge>;
    let (returned, answer) = block_on(async move {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(ours);
        let pipe = Pipe {
            reader: Box::new(reader),
            writer: Box::new(writer),
        };
        let served = tokio::spawn(async move { PipeServer.serve(served, pipe).await });
        let channel = wire::channel(theirs).await;
        let answer = talk(channel).await;
        (served.await.expect("no panic"), answer)
    });
    (bridge, returned, answer)
}

pub(crate) fn with_client(talk: impl AsyncFnOnce(&mut Client)) -> Returned {
    let (_, returned, ()) = with_pipe(MemoryBridge::with_options(&[]), async |channel| {
        talk(&mut LlbBridgeClient::new(channel)).await;
    });
    returned
}

pub(crate) async fn solve(
    client: &mut Client,
    request: gateway::SolveRequest,
) -> gateway::SolveResponse {
    client.solve(request).await.expect("solved").into_inner()
}

/// Returns the id of a reference to `bytes`.
pub(crate) async fn reference(client: &mut Client, bytes: &[u8]) -> String {
    let request = gateway::SolveRequest {
        definition: Some(definition(bytes)),
        allow_result_return: true,
        allow_result_array_ref: true,
        ..gateway::SolveRequest::default()
    };
    match solve(client, request)
        .await
        .result
        .expect("a result")
        .result
    {
        Some(result::Result::Ref(one)) => one.id,
        other => panic!("{other:?}"),
    }
}

/// Rows GW-01, GCAP-01 to GCAP-27: nothing that BuildKit does not know, nothing that is missing.
pub(crate) fn ping_lists_what_works() -> Outcome {
    let recorded = wire::recorded();
    let known: Vec<&str> = recorded["gateway"]["caps"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|cap| cap["id"].as_str())
        .collect();
    with_client(async |client| {
        let pong = client.ping(gateway::PingRequest {}).await.expect("pong");
        let pong = pong.into_inner();
        let ids: Vec<&str> = pong
            .frontend_api_caps
            .iter()
            .map(|cap| cap.id.as_str())
            .collect();
        assert!(ids.is_sorted());
        let unknown: Vec<_> = ids.iter().filter(|id| !known.contains(id)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let absent = |id: &&str| !ids.contains(id);
        let missing: Vec<&str> = known.iter().copied().filter(absent).collect();
        assert_eq!(
            missing,
            [
                "reference.attestations",
                "source.metaresolver.http.checksumrequest",
                "source.metaresolver.image.attestations",
            ]
        );
        let listed: Vec<&str> = pong.llb_caps.iter().map(|cap| cap.id.as_str()).collect();
        assert_eq!(listed, lamina_llb::CAPS);
        assert_eq!(pong.workers.len(), 1);
        assert_eq!(pong.workers[0].id, "worker");
        assert_eq!(pong.workers[0].platforms.len(), 1);
    });
    Outcome::Passed
}

/// Rows CTL-05, GW-01: emulators may come while a build runs.
pub(crate) fn ping_tells_what_can_be_run_now() -> Outcome {
    let bridge = MemoryBridge::with_options(&[]);
    let platforms = Arc::clone(&bridge.platforms);
    with_pipe(bridge, async |channel| {
        let mut client = LlbBridgeClient::new(channel);
        for emulated in ["riscv64", "s390x"] {
            let platform = Platform::new("linux", emulated, "");
            platforms.lock().expect("unpoisoned").push(platform);
            let pong = client.ping(gateway::PingRequest {}).await.expect("answers");
            let workers = pong.into_inner().workers;
            let last = workers[0].platforms.last().expect("a platform");
            assert_eq!(last.architecture, emulated);
        }
    });
    Outcome::Passed
}

/// Rows GW-14 to GW-17, GW-22.
pub(crate) fn results_have_all_forms() -> Outcome {
    with_client(async |client| {
        let request = |frontend: &str, result, arrays| gateway::SolveRequest {
            definition: frontend.is_empty().then(|| definition(b"x")),
            frontend: frontend.to_owned(),
            allow_result_return: result,
            allow_result_array_ref: arrays,
            ..gateway::SolveRequest::default()
        };
        let answer = solve(client, request("", true, true)).await;
        let Some(result::Result::Ref(one)) = answer.result.expect("a result").result else {
            panic!("no reference");
        };
        assert_eq!(one.def, Some(definition(b"x")));
        assert!(answer.r#ref.is_empty() && !one.id.is_empty());

        let answer = solve(client, request("", false, false)).await;
        let result = answer.result.expect("a result").result;
        assert_eq!(
            result,
            Some(result::Result::RefDeprecated(answer.r#ref.clone()))
        );
        assert!(!answer.r#ref.is_empty());

        let answer = solve(client, request("single", true, true)).await;
        let result = answer.result.expect("a result");
        assert_eq!(
            result.result,
            Some(result::Result::Ref(gateway::Ref::default()))
        );
        assert_eq!(result.metadata["k"], b"v");

        let answer = solve(client, request("map", true, true)).await;
        let Some(result::Result::Refs(map)) = answer.result.expect("a result").result else {
            panic!("no references");
        };
        assert!(map.refs["a"].def.is_some() && !map.refs["a"].id.is_empty());
        assert_eq!(map.refs["b"], gateway::Ref::default());

        let answer = solve(client, request("map", true, false)).await;
        let result = answer.result.expect("a result").result;
        assert!(matches!(result, Some(result::Result::RefsDeprecated(map)) if map.refs.len() == 2));

        let old = client.solve(request("map", false, false)).await;
        let message = old
            .expect_err("no map for old clients")
            .message()
            .to_owned();
        assert_eq!(message, "solve did not return default result");
        let eager = gateway::SolveRequest {
            evaluate: true,
            ..request("failing map", false, false)
        };
        let status = client.solve(eager).await.expect_err("and nothing runs");
        assert_eq!(status.message(), message);

        let mut both = request("single", true, true);
        both.definition = Some(definition(b"x"));
        let status = client.solve(both).await.expect_err("both");
        let expected = "cannot solve with both Definition and Frontend specified";
        assert_eq!(status.message(), expected);
    });
    Outcome::Passed
}

/// Rows GW-23 to GW-28: what depends on the service rather than on the tree.
pub(crate) fn reads_answer_as_recorded() -> Outcome {
    let recorded = wire::recorded();
    let reads = recorded["gateway"]["reads"].clone();
    with_client(async move |client| {
        let id = reference(client, b"tree").await;
        for range in [(0, -1), (0, 0), (0, 1_048_576), (1_000_000, 5), (-1, 5)] {
            let request = gateway::ReadFileRequest {
                r#ref: id.clone(),
                file_path: "/etc/group".to_owned(),
                range: Some(gateway::FileRange {
                    offset: range.0,
                    length: range.1,
                }),
                mount_index: 0,
            };
            let expected = &reads[format!("ReadFile /etc/group range [{} {}]", range.0, range.1)];
            match client.read_file(request).await {
                Ok(answer) => assert_eq!(
                    String::from_utf8(answer.into_inner().data).ok().as_deref(),
                    expected.as_str(),
                    "{range:?}"
                ),
                Err(status) => assert_eq!(
                    Some(status.message()),
                    expected["error"].as_str(),
                    "{range:?}"
                ),
            }
        }
        let whole = gateway::ReadFileRequest {
            r#ref: id.clone(),
            file_path: "/etc/group".to_owned(),
            ..gateway::ReadFileRequest::default()
        };
        let answer = client.read_file(whole).await.expect("read");
        assert_eq!(answer.into_inner().data, GROUP);

        let list = gateway::ReadDirRequest {
            r#ref: id.clone(),
            dir_path: "/etc".to_owned(),
            include_pattern: "g*".to_owned(),
            mount_index: 0,
        };
        let entries = client
            .read_dir(list)
            .await
            .expect("listed")
            .into_inner()
            .entries;
        let expected = &reads["ReadDir g* /etc"][0];
        assert_eq!(
            u64::from(entries[0].mode),
            expected["mode"].as_u64().expect("a mode")
        );
        assert_eq!(entries[0].path, "group");

        let stat = gateway::StatFileRequest {
            r#ref: id,
            path: "/etc".to_owned(),
            mount_index: 0,
        };
        let stat = client
            .stat_file(stat)
            .await
            .expect("described")
            .into_inner()
            .stat;
        let stat = stat.expect("a description");
        let expected = &reads["StatFile /etc"];
        assert_eq!(
            u64::from(stat.mode),
            expected["mode"].as_u64().expect("a mode")
        );
        assert_eq!((stat.path.as_str(), stat.size), ("etc", 0));

        for id in ["", "nonsense"] {
            let request = gateway::EvaluateRequest {
                r#ref: id.to_owned(),
            };
            let status = client.evaluate(request).await.expect_err("unknown");
            assert_eq!(status.message(), format!("no such ref: {id}"));
            assert_eq!(status.code(), Code::Unknown);
        }
    });
    Outcome::Passed
}

/// Row ERR-03: whichever call finds the failure, its details name references that can be read.
pub(crate) fn failed_ops_can_be_looked_at() -> Outcome {
    with_client(async |client| {
        let id = reference(client, FAILING).await;
        let mut seen = Vec::new();
        let lazy = client.read_file(gateway::ReadFileRequest {
            r#ref: id.clone(),
            file_path: "/etc/group".to_owned(),
            ..gateway::ReadFileRequest::default()
        });
        seen.push(lazy.await.expect_err("fails"));
        let evaluate = client.evaluate(gateway::EvaluateRequest { r#ref: id });
        seen.push(evaluate.await.expect_err("fails"));
        let eager = client.solve(gateway::SolveRequest {
            definition: Some(definition(FAILING)),
            evaluate: true,
            allow_result_return: true,
            ..gateway::SolveRequest::default()
        });
        seen.push(eager.await.expect_err("fails"));
        let mut ids = Vec::new();
        for status in seen {
            let status = rpc::Status::decode(status.details()).expect("details");
            let urls: Vec<&str> = status
                .details
                .iter()
                .map(|any| any.type_url.as_str())
                .collect();
            let prefix = "github.com/moby/buildkit";
            let expected = ["errdefs.Solve", "errdefs.Vertex", "gatewayapi.ExitMessage"];
            assert_eq!(urls, expected.map(|name| format!("{prefix}/{name}+json")));
            let solve: serde_json::Value =
                serde_json::from_slice(&status.details[0].value).expect("JSON");
            assert_eq!(solve["inputIDs"][1], "");
            ids.push(solve["mountIDs"][0].as_str().expect("an id").to_owned());
        }
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[0], ids[2]);
        let mount = gateway::EvaluateRequest {
            r#ref: ids.remove(0),
        };
        client.evaluate(mount).await.expect("still there");
    });
    Outcome::Passed
}

/// Row GW-35.
pub(crate) fn warnings_arrive() -> Outcome {
    let vertex = lamina_types::Digest::of(b"v");
    let bridge = MemoryBridge::with_options(&[]);
    let (bridge, ..) = with_pipe(bridge, async |channel| {
        let mut client = LlbBridgeClient::new(channel);
        let request = gateway::WarnRequest {
            digest: vertex.to_string(),
            level: i64::MAX,
            short: vec![b's', 0xff],
            detail: vec![b"d".to_vec()],
            url: "u".to_owned(),
            info: Some(pb::SourceInfo::default()),
            ranges: vec![pb::Range::default()],
        };
        client.warn(request.clone()).await.expect("taken");
        let digest = "nonsense".to_owned();
        let status = client
            .warn(gateway::WarnRequest { digest, ..request })
            .await;
        assert_eq!(status.expect_err("no digest").code(), Code::InvalidArgument);
    });
    let warnings = bridge.warnings.lock().expect("unpoisoned");
    assert_eq!(warnings.len(), 1);
    let (of, warning) = &warnings[0];
    assert_eq!(*of, vertex);
    assert_eq!(
        (warning.short.as_str(), warning.level),
        ("s\u{fffd}", i32::MAX)
    );
    Outcome::Passed
}

/// Row NET-06: health and nothing else beside LLBBridge.
pub(crate) fn health_is_on_the_pipe() -> Outcome {
    let bridge = MemoryBridge::with_options(&[]);
    with_pipe(bridge, async |channel| {
        let mut health = HealthClient::new(channel.clone());
        let answer = health.check(HealthCheckRequest::default()).await;
        assert_eq!(answer.expect("answers").into_inner().status, 1);
        let mut control = lamina_proto::control::control_client::ControlClient::new(channel);
        let info = control.info(lamina_proto::control::InfoRequest {}).await;
        assert_eq!(info.expect_err("not here").code(), Code::Unimplemented);
    });
    Outcome::Passed
}
