//! The Control service: builds, their progress, history and disk usage (section 2).
//!
//! [`solve`] turns a request into one of the engine, [`session`] gives a client's tunnel to the
//! session manager; everything else is a call of the engine.

mod caches;
mod session;
mod solve;

use std::future::Future;
use std::pin::Pin;

use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_engine::HistoryError;
use lamina_engine::UsageError;
use lamina_proto::control;
use lamina_proto::control::control_server::Control;
use lamina_proto::worker::BuildkitVersion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataValue;

use crate::ServerOptions;
use crate::gateway::Builds;

/// The header that lets clients correct their clock (row NET-09).
const TIMESTAMP: &str = "buildkit-current-timestamp";

/// Removed records that wait for a client before pruning does.
const PRUNE_BACKLOG: usize = 64;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

/// Control over an engine.
#[derive(Debug)]
pub(crate) struct ControlService {
    options: ServerOptions,
    builds: Builds,
}

impl ControlService {
    /// Makes the service; builds that clients drive themselves appear in `builds`.
    pub(crate) fn new(options: ServerOptions, builds: Builds) -> Self {
        Self { options, builds }
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    type PruneStream = Messages<control::UsageRecord>;
    type StatusStream = Messages<control::StatusResponse>;
    type SessionStream = Messages<control::BytesMessage>;
    type ListenBuildHistoryStream = Messages<control::BuildHistoryEvent>;

    async fn disk_usage(
        &self,
        request: Request<control::DiskUsageRequest>,
    ) -> Answer<control::DiskUsageResponse> {
        let engine = self.options.engine.get().await?;
        let record = engine.disk_usage(request.get_ref()).await;
        let record = record.map_err(|error| usage_status(&error))?;
        Ok(Response::new(control::DiskUsageResponse { record }))
    }

    async fn prune(&self, request: Request<control::PruneRequest>) -> Answer<Self::PruneStream> {
        let engine = self.options.engine.get().await?.clone();
        let (sender, removed) = mpsc::channel(PRUNE_BACKLOG);
        let pruning = tokio::spawn(async move {
            let pruned = engine.prune(request.get_ref(), sender).await;
            pruned.map_err(|error| usage_status(&error))
        });
        let end = async move { pruning.await.unwrap_or_else(|error| Err(internal(&error))) };
        let records = ReceiverStream::new(removed).map(Ok);
        Ok(Response::new(ending_with(records, end)))
    }

    async fn solve(
        &self,
        request: Request<control::SolveRequest>,
    ) -> Answer<control::SolveResponse> {
        let solved = solve::solve(&self.options, &self.builds, request.into_inner()).await?;
        Ok(Response::new(solved))
    }

    async fn status(&self, request: Request<control::StatusRequest>) -> Answer<Self::StatusStream> {
        let engine = self.options.engine.get().await?;
        let messages = engine.status(&request.get_ref().r#ref).await;
        let messages = messages.map_err(|error| Status::not_found(error.to_string()))?;
        Ok(with_clock(Box::pin(messages.map(Ok))))
    }

    async fn session(
        &self,
        request: Request<Streaming<control::BytesMessage>>,
    ) -> Answer<Self::SessionStream> {
        let tunnel = session::attach(self.options.sessions.clone(), request)?;
        Ok(Response::new(tunnel))
    }

    async fn list_workers(
        &self,
        request: Request<control::ListWorkersRequest>,
    ) -> Answer<control::ListWorkersResponse> {
        let engine = self.options.engine.get().await?;
        let record = engine.workers(&request.get_ref().filter);
        let record = record.map_err(|error| usage_status(&error))?;
        Ok(Response::new(control::ListWorkersResponse { record }))
    }

    async fn info(&self, _: Request<control::InfoRequest>) -> Answer<control::InfoResponse> {
        let version = &self.options.version;
        Ok(Response::new(control::InfoResponse {
            buildkit_version: Some(BuildkitVersion {
                package: version.package.clone(),
                version: version.version.clone(),
                revision: version.revision.clone(),
                dockerfile_version: version.dockerfile.clone(),
            }),
        }))
    }

    async fn listen_build_history(
        &self,
        request: Request<control::BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        let engine = self.options.engine.get().await?;
        let events = engine.listen_history(request.get_ref()).await;
        let events = events.map_err(|error| history_status(&error))?;
        Ok(with_clock(Box::pin(events.map(Ok))))
    }

    async fn update_build_history(
        &self,
        request: Request<control::UpdateBuildHistoryRequest>,
    ) -> Answer<control::UpdateBuildHistoryResponse> {
        let engine = self.options.engine.get().await?;
        let updated = engine.update_history(request.get_ref()).await;
        updated.map_err(|error| history_status(&error))?;
        Ok(Response::new(control::UpdateBuildHistoryResponse {}))
    }
}

/// Passes `messages` on and ends with the error of `end`, if it has one.
fn ending_with<T: Send + 'static>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    end: impl Future<Output = Result<(), Status>> + Send + 'static,
) -> Messages<T> {
    let end = futures_util::stream::once(end);
    let error = end.filter_map(|end| async move { end.err().map(Err) });
    Box::pin(messages.chain(error))
}

/// Answers with the time of this machine in the header.
fn with_clock<T>(messages: T) -> Response<T> {
    let mut response = Response::new(messages);
    let now = jiff::Timestamp::now().to_string();
    if let Ok(now) = MetadataValue::try_from(now) {
        response.metadata_mut().insert(TIMESTAMP, now);
    }
    response
}

fn usage_status(error: &UsageError) -> Status {
    match error {
        UsageError::Filter { .. } => Status::invalid_argument(error.to_string()),
        other => Status::unknown(other.to_string()),
    }
}

/// Clients know these errors by their words (rows CTL-16, CTL-25).
fn history_status(error: &HistoryError) -> Status {
    Status::unknown(error.to_string())
}

fn internal(error: &dyn std::error::Error) -> Status {
    Status::internal(error.to_string())
}
