//! One build as its driver sees it: the calls of LLBBridge on a bridge.

use std::sync::Arc;

use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::Warning;
use lamina_proto::gateway;
use lamina_session::stat_to_wire;
use lamina_types::Digest;
use tonic::Code;
use tonic::Status;

use super::containers::Containers;
use super::listings::Listings;
use super::outcome::Outcome;
use super::references::References;

use crate::status;

/// A bridge, the references that were given out, and the place for what is returned.
pub(crate) struct DrivenBuild {
    pub(super) bridge: Arc<dyn Bridge>,
    pub(super) references: References,
    pub(super) listings: Listings,
    pub(super) containers: Containers,
    outcome: Outcome,
}

impl DrivenBuild {
    pub(super) fn new(bridge: Arc<dyn Bridge>) -> Self {
        Self {
            bridge,
            references: References::new(),
            listings: Listings::default(),
            containers: Containers::default(),
            outcome: Outcome::default(),
        }
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Returns the error of a call; what is left of a failed op becomes references of this build.
    pub(super) fn status(&self, error: &BuildError) -> Status {
        match &error.solve {
            Some(failure) => {
                let ids = self.references.of_failure(failure);
                status::with_failure(error, failure, ids)
            }
            None => status::to_status(error),
        }
    }

    /// Row GW-25. A length below zero means up to the end, as for the protocol's first server.
    pub(super) async fn read_file(
        &self,
        request: gateway::ReadFileRequest,
    ) -> Result<gateway::ReadFileResponse, BuildError> {
        let reference = self.references.get(&request.r#ref)?;
        let path = &request.file_path;
        let range = request.range.map(|range| {
            let length = u64::try_from(range.length).unwrap_or(u64::MAX);
            (u64::try_from(range.offset).ok(), length)
        });
        let range = match range {
            None => None,
            Some((Some(offset), length)) => Some((offset, length)),
            Some((None, _)) => {
                // What is wrong with the file is said first.
                self.bridge
                    .read_file(&reference, path, Some((0, 0)))
                    .await?;
                let message = format!("readat {path}: negative offset");
                return Err(BuildError::new(message));
            }
        };
        let data = self.bridge.read_file(&reference, path, range).await?;
        Ok(gateway::ReadFileResponse { data })
    }

    /// Row GW-26.
    pub(super) async fn read_dir(
        &self,
        request: gateway::ReadDirRequest,
    ) -> Result<gateway::ReadDirResponse, BuildError> {
        let reference = self.references.get(&request.r#ref)?;
        let include = Some(request.include_pattern.as_str()).filter(|text| !text.is_empty());
        let listed = self.bridge.read_dir(&reference, &request.dir_path, include);
        let entries = listed.await?;
        let entries = entries.iter().map(|(name, stat)| stat_to_wire(name, stat));
        Ok(gateway::ReadDirResponse {
            entries: entries.collect(),
        })
    }

    /// Row GW-27.
    pub(super) async fn stat_file(
        &self,
        request: gateway::StatFileRequest,
    ) -> Result<gateway::StatFileResponse, BuildError> {
        let reference = self.references.get(&request.r#ref)?;
        let (name, stat) = self.bridge.stat_file(&reference, &request.path).await?;
        Ok(gateway::StatFileResponse {
            stat: Some(stat_to_wire(&name, &stat)),
        })
    }

    /// Row GW-24.
    pub(super) async fn evaluate(
        &self,
        request: gateway::EvaluateRequest,
    ) -> Result<gateway::EvaluateResponse, BuildError> {
        let reference = self.references.get(&request.r#ref)?;
        self.bridge.evaluate(&reference).await?;
        Ok(gateway::EvaluateResponse {})
    }

    /// Row GW-29.
    pub(super) fn inputs(&self) -> gateway::InputsResponse {
        gateway::InputsResponse {
            definitions: self.bridge.inputs().clone(),
        }
    }

    /// Row GW-35. The vertex need not be one of the build.
    pub(super) fn warn(
        &self,
        request: gateway::WarnRequest,
    ) -> Result<gateway::WarnResponse, BuildError> {
        let vertex: Digest = request.digest.parse().map_err(|error| BuildError {
            code: Some(Code::InvalidArgument as i32),
            ..BuildError::new(format!("invalid vertex {:?}: {error}", request.digest))
        })?;
        let level = i32::try_from(request.level).unwrap_or(i32::MAX);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let warning = Warning {
            short: text(request.short),
            detail: request.detail.into_iter().map(text).collect(),
            url: request.url,
            source: request.info,
            ranges: request.ranges,
            level,
        };
        self.bridge.warn(vertex, warning);
        Ok(gateway::WarnResponse {})
    }
}
