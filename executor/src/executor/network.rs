//! The networks of steps that ask for none in particular (row EXC-29).

use std::os::fd::OwnedFd;

use lamina_network::StepNetwork;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::LogStream;
use lamina_types::Progress;

use super::Inner;
use crate::ExecError;
use crate::NetworkMode;
use crate::ProcessSpec;
use crate::error::Doing;

impl Inner {
    /// Returns the network of a step, unless it asks for one by name.
    pub(crate) async fn join(
        &self,
        spec: &ProcessSpec,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Option<StepNetwork>, ExecError> {
        if spec.network != NetworkMode::Sandbox {
            return Ok(None);
        }
        let joined = tokio::select! {
            joined = self.engine.networks.join(&spec.hostname) => joined?,
            () = cancel.cancelled() => return Err(Cancelled.into()),
        };
        if let Some(notice) = joined.notice() {
            progress.log(LogStream::Stderr, format!("{notice}\n").as_bytes());
        }
        Ok(Some(joined))
    }
}

/// Returns the namespace that a step is to enter, if there is one.
pub(crate) fn namespace(network: Option<&StepNetwork>) -> Result<Option<OwnedFd>, ExecError> {
    let namespace = network.and_then(StepNetwork::namespace);
    let namespace = namespace.map(|namespace| namespace.try_clone_to_owned());
    namespace.transpose().doing("keep a network open")
}
