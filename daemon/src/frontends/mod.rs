//! The frontends that every engine of this program has (row CSOL-04).

mod allowed;

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_frontend::GatewayFrontend;
use lamina_grpc::PipeServer;
use lamina_llb::Frontend;

pub(crate) use allowed::AllowedRepositories;

/// The built-in frontend for Dockerfiles.
pub(crate) const DOCKERFILE: &str = "dockerfile.v0";

/// The frontend that runs frontends from images.
pub(crate) const GATEWAY: &str = "gateway.v0";

/// Returns the frontends that every engine has: `dockerfile.v0`, `gateway.v0` (row CSOL-04).
#[must_use]
pub fn frontends() -> BTreeMap<String, Arc<dyn Frontend>> {
    let dockerfile: Arc<dyn Frontend> = Arc::new(DockerfileFrontend);
    let gateway: Arc<dyn Frontend> = Arc::new(GatewayFrontend::new(Arc::new(PipeServer)));
    let both = [(DOCKERFILE, dockerfile), (GATEWAY, gateway)];
    both.map(|(name, frontend)| (name.to_owned(), frontend))
        .into()
}
