//! Containers of a build (rows EXE-01 to EXE-06).

use futures_util::future::try_join_all;

use super::Build;
use crate::BuildError;
use crate::Container;
use crate::ContainerRequest;
use crate::containers::Owner;

impl Build {
    /// Makes a container, building what its mounts name first. It ends with the build.
    pub(super) async fn new_container(
        &self,
        request: ContainerRequest,
    ) -> Result<Container, BuildError> {
        let references = request.references();
        let inputs = try_join_all(references.map(|one| self.evaluate(one))).await?;
        let inner = &self.0;
        let owner = Owner {
            services: inner.services.clone(),
            context: inner.context.clone(),
            entitlements: inner.entitlements.clone(),
            cancel: inner.cancel.clone(),
        };
        Container::new(owner, request, inputs).await
    }
}
