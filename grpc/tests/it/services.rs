//! The small services of the daemon socket (rows NET-05, OTH-01 to OTH-05).

use lamina_proto::content;
use lamina_proto::content::content_client::ContentClient;
use lamina_proto::control;
use lamina_proto::trace::ExportTraceServiceRequest;
use lamina_proto::trace::trace_service_client::TraceServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::block_on;
use crate::daemon::Daemon;
use crate::daemon::daemon;
use crate::harness::Outcome;

/// Clients dial before the engine is there; what needs it waits.
pub(crate) fn health_and_info_do_not_wait() -> Outcome {
    block_on(async {
        let daemon = Daemon::listen();
        let mut health = HealthClient::new(daemon.connect().await);
        let answer = health.check(HealthCheckRequest::default()).await;
        assert_eq!(answer.expect("answers").into_inner().status, 1);
        let mut client = daemon.control().await;
        let info = client.info(control::InfoRequest {}).await.expect("answers");
        let version = info.into_inner().buildkit_version.expect("a version");
        assert_eq!(version.version, "v1.2.3");
        let mut waiting = client.clone();
        let workers = tokio::spawn(async move {
            let request = control::ListWorkersRequest::default();
            waiting.list_workers(request).await
        });
        // A later call on the same connection is answered while the other waits.
        client.info(control::InfoRequest {}).await.expect("answers");
        assert!(!workers.is_finished());
        daemon.slot.fill(Err("no room".to_owned()));
        let status = workers.await.expect("no panic").expect_err("no engine");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "no room")
        );
    });
    Outcome::Passed
}

/// Row OTH-02.
pub(crate) fn all_services_are_described() -> Outcome {
    block_on(async {
        let daemon = Daemon::listen();
        let mut client = ServerReflectionClient::new(daemon.connect().await);
        let ask = |message| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let symbol = "moby.buildkit.v1.frontend.LLBBridge.Solve".to_owned();
        let asked = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(symbol)),
        ];
        let answers = client
            .server_reflection_info(tokio_stream::iter(asked))
            .await;
        let mut answers = answers.expect("answers").into_inner();
        let first = answers.message().await.expect("an answer").expect("one");
        let Some(MessageResponse::ListServicesResponse(list)) = first.message_response else {
            panic!("{first:?}");
        };
        let names: Vec<String> = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        for name in [
            "moby.buildkit.v1.Control",
            "moby.buildkit.v1.frontend.LLBBridge",
            "containerd.services.content.v1.Content",
            "opentelemetry.proto.collector.trace.v1.TraceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
        ] {
            assert!(names.iter().any(|other| other == name), "{name}: {names:?}");
        }
        let second = answers.message().await.expect("an answer").expect("one");
        let described = second.message_response;
        assert!(matches!(
            described,
            Some(MessageResponse::FileDescriptorResponse(_))
        ));
    });
    Outcome::Passed
}

/// Row OTH-05, and OTH-04 on a store without blobs.
pub(crate) fn content_is_read_only() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let mut client = ContentClient::new(daemon.connect().await);
        let digest = lamina_types::Digest::of(b"nothing").to_string();
        let delete = content::DeleteContentRequest {
            digest: digest.clone(),
        };
        let status = client.delete(delete).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), "read-only content store");
        for (digest, code) in [
            (digest, Code::NotFound),
            ("x".to_owned(), Code::InvalidArgument),
        ] {
            let request = content::InfoRequest {
                digest: digest.clone(),
            };
            assert_eq!(client.info(request).await.expect_err("none").code(), code);
            let request = content::ReadContentRequest {
                digest,
                ..content::ReadContentRequest::default()
            };
            assert_eq!(client.read(request).await.expect_err("none").code(), code);
        }
        client
            .list_statuses(content::ListStatusesRequest::default())
            .await
            .expect("none");
        let list = client.list(content::ListContentRequest::default()).await;
        let mut list = list.expect("a list").into_inner();
        while list.message().await.expect("a message").is_some() {}
        Outcome::Passed
    })
}

/// Row ERR-20.
pub(crate) fn spans_are_refused() -> Outcome {
    block_on(async {
        let daemon = Daemon::listen();
        let mut client = TraceServiceClient::new(daemon.connect().await);
        let request = ExportTraceServiceRequest {
            resource_spans: vec![vec![1, 2, 3]],
        };
        let status = client.export(request).await.expect_err("no collector");
        assert_eq!(status.code(), Code::Unavailable);
    });
    Outcome::Passed
}
