//! Which services the daemon socket has.

use lamina_engine::Version;
use lamina_proto::content::content_server::ContentServer;
use lamina_proto::control::control_server::ControlServer;
use lamina_proto::trace::trace_service_server::TraceServiceServer;
use lamina_session::SessionManager;
use tonic::service::Routes;

use crate::EngineSlot;
use crate::MAX_MESSAGE_BYTES;
use crate::content::ContentService;
use crate::control::ControlService;
use crate::gateway::Builds;
use crate::gateway::Gateway;
use crate::gateway::GatewayService;
use crate::trace::NoCollector;

/// What reflection lists (row OTH-02).
const REFLECTED: [&str; 7] = [
    "moby.buildkit.v1.Control",
    "moby.buildkit.v1.frontend.LLBBridge",
    "containerd.services.content.v1.Content",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What the services work with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The engine.
    pub engine: EngineSlot,
    /// Clients that are connected; the same that the engine has.
    pub sessions: SessionManager,
    /// What Info says, also before the engine is there.
    pub version: Version,
}

/// Returns all services of the daemon socket (row NET-05).
#[must_use]
pub fn routes(options: ServerOptions) -> Routes {
    let builds = Builds::default();
    let engine = options.engine.clone();
    let control = ControlServer::new(ControlService::new(options, builds.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let gateway = Gateway::new(GatewayService::by_id(builds));
    let content = ContentServer::new(ContentService::new(engine))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let trace = TraceServiceServer::new(NoCollector).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(control)
        .add_service(gateway)
        .add_service(content)
        .add_service(trace)
        .add_service(health);
    with_reflection(routes).prepare()
}

/// Adds both versions of reflection; tools still ask for the older one.
fn with_reflection(routes: Routes) -> Routes {
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(lamina_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            )
            .include_reflection_service(false);
        REFLECTED
            .into_iter()
            .fold(builder, |builder, name| builder.with_service_name(name))
    };
    let (v1, v1alpha) = (builder().build_v1(), builder().build_v1alpha());
    let whole = "the descriptors are those that the services were generated from";
    routes
        .add_service(v1.expect(whole))
        .add_service(v1alpha.expect(whole))
}
