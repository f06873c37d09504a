//! Driving a build: from outside the daemon, or as a frontend (rows NET-06, NET-07, GCL-01 to GCL-18).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_proto::fsutil;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use lamina_proto::pb;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;
use tonic::Request;
use tonic::metadata::Ascii;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use crate::Client;
use crate::ClientError;
use crate::MESSAGE_BYTES;
use crate::connect::over;
use crate::containers::ExecStream;

/// Names the build that a call belongs to (row NET-07).
const BUILD_ID_KEY: &str = "buildkit-controlapi-buildid";

/// What messages call a daemon inside this process.
const HERE: &str = "the engine of this process";

/// Drives one build (section 3). Clones share it.
///
/// References that it returns are valid until the build ends (row GW-23).
#[derive(Clone, Debug)]
pub struct Gateway {
    client: Client,
    /// `None`: the connection leads to one build only.
    build: Option<MetadataValue<Ascii>>,
    /// Opened with the first process.
    processes: Arc<Mutex<Option<ExecStream>>>,
}

impl Gateway {
    pub(crate) fn new(client: Client, build: &str) -> Result<Self, ClientError> {
        let build = build.parse().map_err(|_| ClientError::NotAscii {
            what: "the build id",
            text: build.to_owned(),
        })?;
        Ok(Self {
            client,
            build: Some(build),
            processes: Arc::default(),
        })
    }

    /// Drives the build that a frontend was started for (row NET-06).
    pub(crate) fn alone(client: Client) -> Self {
        Self {
            client,
            build: None,
            processes: Arc::default(),
        }
    }

    /// Drives the one build at the other end of `stream`, such as a pipe of this process. When the
    /// stream ends, every call fails.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if nobody serves it.
    pub async fn over<S>(stream: S) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let channel = over(stream, HERE).await?;
        Ok(Self::alone(Client::over(channel, HERE)))
    }

    /// Returns capabilities and workers (row GW-01).
    ///
    /// # Errors
    /// If the daemon knows no such build.
    pub async fn ping(&self) -> Result<gateway::PongResponse, ClientError> {
        let request = self.request(gateway::PingRequest {});
        self.client.answer(self.bridge().ping(request).await)
    }

    /// Solves a definition or runs a frontend (rows GW-14 to GW-22).
    ///
    /// # Errors
    /// Why the frontend failed; for `evaluate`, why a step did.
    pub async fn solve(
        &self,
        mut request: gateway::SolveRequest,
    ) -> Result<gateway::Result, ClientError> {
        request.allow_result_return = true;
        request.allow_result_array_ref = true;
        let request = self.request(request);
        let answer = self.client.answer(self.bridge().solve(request).await)?;
        Ok(answer.result.unwrap_or_else(|| result_of(answer.r#ref)))
    }

    /// Finds an image and its configuration (rows GW-02 to GW-08).
    ///
    /// # Errors
    /// If there is no such image or it cannot be had.
    pub async fn resolve_image_config(
        &self,
        request: gateway::ResolveImageConfigRequest,
    ) -> Result<gateway::ResolveImageConfigResponse, ClientError> {
        let request = self.request(request);
        self.client
            .answer(self.bridge().resolve_image_config(request).await)
    }

    /// Finds out what a source is now (rows GW-09 to GW-13).
    ///
    /// # Errors
    /// If it does not exist or cannot be had.
    pub async fn resolve_source_meta(
        &self,
        request: gateway::ResolveSourceMetaRequest,
    ) -> Result<gateway::ResolveSourceMetaResponse, ClientError> {
        let request = self.request(request);
        self.client
            .answer(self.bridge().resolve_source_meta(request).await)
    }

    /// Reads a file of a reference, or a part of it (row GW-25).
    ///
    /// # Errors
    /// If it does not exist or is no regular file, or the reference cannot be built.
    pub async fn read_file(
        &self,
        reference: &str,
        path: &str,
        range: Option<gateway::FileRange>,
    ) -> Result<Vec<u8>, ClientError> {
        let request = self.request(gateway::ReadFileRequest {
            r#ref: reference.to_owned(),
            file_path: path.to_owned(),
            range,
            mount_index: 0,
        });
        let answer = self.client.answer(self.bridge().read_file(request).await)?;
        Ok(answer.data)
    }

    /// Lists a directory of a reference; an empty pattern lists all (row GW-26).
    ///
    /// # Errors
    /// If it does not exist or is no directory, or the reference cannot be built.
    pub async fn read_dir(
        &self,
        reference: &str,
        path: &str,
        include: &str,
    ) -> Result<Vec<fsutil::Stat>, ClientError> {
        let request = self.request(gateway::ReadDirRequest {
            r#ref: reference.to_owned(),
            dir_path: path.to_owned(),
            include_pattern: include.to_owned(),
            mount_index: 0,
        });
        let answer = self.client.answer(self.bridge().read_dir(request).await)?;
        Ok(answer.entries)
    }

    /// Describes a file of a reference, following symlinks (row GW-27).
    ///
    /// # Errors
    /// If it does not exist, or the reference cannot be built.
    pub async fn stat_file(
        &self,
        reference: &str,
        path: &str,
    ) -> Result<fsutil::Stat, ClientError> {
        let request = self.request(gateway::StatFileRequest {
            r#ref: reference.to_owned(),
            path: path.to_owned(),
            mount_index: 0,
        });
        let answer = self.client.answer(self.bridge().stat_file(request).await)?;
        answer
            .stat
            .ok_or(ClientError::Malformed("StatFile without a description"))
    }

    /// Builds a reference now (row GW-24).
    ///
    /// # Errors
    /// Why a step failed.
    pub async fn evaluate(&self, reference: &str) -> Result<(), ClientError> {
        let request = self.request(gateway::EvaluateRequest {
            r#ref: reference.to_owned(),
        });
        let answer = self.bridge().evaluate(request).await;
        self.client.answer(answer).map(drop)
    }

    /// Returns the definitions that the build was given by name (row GW-29).
    ///
    /// # Errors
    /// If the daemon knows no such build.
    pub async fn inputs(&self) -> Result<BTreeMap<String, pb::Definition>, ClientError> {
        let request = self.request(gateway::InputsRequest {});
        let answer = self.client.answer(self.bridge().inputs(request).await)?;
        Ok(answer.definitions)
    }

    /// Adds a warning to a vertex (row GW-35).
    ///
    /// # Errors
    /// If the warning is malformed.
    pub async fn warn(&self, warning: gateway::WarnRequest) -> Result<(), ClientError> {
        let request = self.request(warning);
        let answer = self.bridge().warn(request).await;
        self.client.answer(answer).map(drop)
    }

    /// Ends the build with a result or an error (rows GW-30 to GW-34).
    pub(crate) async fn finish(
        &self,
        outcome: &Result<gateway::Result, ClientError>,
    ) -> Result<(), ClientError> {
        let request = match outcome {
            Ok(result) => gateway::ReturnRequest {
                result: Some(result.clone()),
                error: None,
            },
            Err(error) => gateway::ReturnRequest {
                result: None,
                error: Some(error.to_wire()),
            },
        };
        let answer = self.bridge().r#return(self.request(request)).await;
        self.client.answer(answer).map(drop)
    }

    /// Returns the stream of processes, opening it if there is none or it has ended.
    pub(crate) async fn exec_stream(&self) -> ExecStream {
        let mut stream = self.processes.lock().await;
        if let Some(open) = stream.as_ref().filter(|stream| stream.is_open()) {
            return open.clone();
        }
        let opened = ExecStream::open(self.bridge(), |messages| self.request(messages));
        stream.insert(opened).clone()
    }

    /// Takes a call's answer, or explains its status.
    pub(crate) fn answer<T>(
        &self,
        answer: Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, ClientError> {
        self.client.answer(answer)
    }

    pub(crate) fn bridge(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::new(self.client.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(build) = &self.build {
            request.metadata_mut().insert(BUILD_ID_KEY, build.clone());
        }
        request
    }
}

/// Reads the form of answers that old daemons give (row GW-16).
fn result_of(reference: String) -> gateway::Result {
    gateway::Result {
        result: Some(gateway::result::Result::RefDeprecated(reference)),
        ..gateway::Result::default()
    }
}
