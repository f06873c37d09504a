//! LLB: the graph that clients send, what its ops do, and the bridge that frontends talk to.
//!
//! A [`pb::Definition`](lamina_proto::pb::Definition) is loaded and validated as a whole
//! ([`Graph`]), each op becomes a step with its cache key computed from the bytes as received, and
//! the steps become vertices for the solver. Nothing outside this crate sees an op as protobuf.
//!
//! A [`Build`] is one build: it owns the solver's job, hands out lazy [`Reference`]s and answers
//! the questions of frontends ([`Bridge`]). The things that ops need (layers, sources, the
//! executor) are given once, as [`Services`].
//!
//! ```text
//! definition -> Graph (validated steps) -> vertices -> solver -> Snapshot (a list of layers)
//! frontend  <-> Bridge (solve lazily, read files, resolve images)
//! ```

mod build;
mod cache_mounts;
mod caps;
mod containers;
mod definition;
mod entitlements;
mod error;
mod frontend;
mod key;
mod model;
mod ops;
mod policy;
mod results;
mod services;
mod snapshot;

pub use build::Build;
pub use build::BuildOptions;
pub use build::Reference;
pub use build::SnapshotSolver;
pub use cache_mounts::CacheMountError;
pub use cache_mounts::CacheMountUsage;
pub use cache_mounts::CacheMounts;
pub use cache_mounts::Uses;
pub use caps::CAPS;
pub use caps::has_cap;
pub use containers::Container;
pub use containers::ContainerMount;
pub use containers::ContainerProcess;
pub use containers::ContainerRequest;
pub use containers::ProcessRequest;
pub use definition::Graph;
pub use definition::LoadError;
pub use entitlements::Entitlement;
pub use entitlements::EntitlementError;
pub use entitlements::Entitlements;
pub use entitlements::GrantedDevices;
pub use error::BuildError;
pub use error::FrontendName;
pub use error::SolveFailure;
pub use error::SolveSubject;
pub use error::SourceExcerpt;
pub use error::missing_key;
pub use frontend::Bridge;
pub use frontend::BridgeServer;
pub use frontend::BuildResult;
pub use frontend::CacheOption;
pub use frontend::Frontend;
pub use frontend::FrontendProcess;
pub use frontend::FrontendRequest;
pub use frontend::Pipe;
pub use frontend::ResolveImageOptions;
pub use frontend::ResolveSourceRequest;
pub use frontend::ResolvedGit;
pub use frontend::ResolvedImage;
pub use frontend::ResolvedSource;
pub use frontend::ResultRefs;
pub use frontend::RunningProcess;
pub use frontend::SolveOptions;
pub use frontend::Warning;
pub use frontend::WorkerInfo;
pub use lamina_executor::ProcessControl;
pub use lamina_executor::ProcessInput;
pub use lamina_executor::ProcessOutput;
pub use lamina_executor::ProcessStreams;
pub use lamina_executor::signal_number;
pub use model::SpecError;
pub use ops::BuildContext;
pub use ops::MakeRoom;
pub use ops::Room;
pub use policy::PolicyError;
pub use results::SnapshotResults;
pub use services::Services;
pub use snapshot::Snapshot;

pub use lamina_sources::GitObjects;
