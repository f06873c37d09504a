//! LLBBridge: the gateway protocol over a build's [`Bridge`](lamina_llb::Bridge) (section 3).
//!
//! One service, two ways to it. On the daemon socket a call names its build ([`Builds`]); on a
//! frontend's pipe there is one build ([`PipeServer`]). Either way the build is a [`DrivenBuild`]:
//! a bridge, the references and containers that the caller has by id, and the place for what it
//! returns. Containers end when the build does, however long calls hold on to it.
//!
//! ```text
//! Control.Solve without definition and frontend -> ClientFrontend -> Builds["ref"]
//!                                                                       ^
//! LLBBridge.* with buildkit-controlapi-buildid: ref --------------------'  -> DrivenBuild
//! frontend's stdin and stdout -> PipeServer ---------------------------------> DrivenBuild
//! ```

mod builds;
mod caps;
mod containers;
mod driven;
mod exec;
mod listings;
mod outcome;
mod pipe;
mod references;
mod resolve;
mod results;
mod service;
mod solve;

pub(crate) use builds::Builds;
pub(crate) use builds::ClientFrontend;
pub(crate) use builds::reference_names;
pub(crate) use listings::Gateway;
pub use pipe::PipeServer;
pub(crate) use service::GatewayService;

use driven::DrivenBuild;
