//! A connection, and the calls of Control that are no builds (row CCL-07).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_proto::content;
use lamina_proto::content::content_client::ContentClient;
use lamina_proto::control;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::worker;
use lamina_types::CancelToken;
use lamina_types::Digest;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;

use crate::ClientError;
use crate::MESSAGE_BYTES;
use crate::TlsFiles;
use crate::connect;

/// How often a daemon that starts is asked whether it is ready (row CCL-03).
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// The most that [`Client::blob`] reads: logs and provenance are far smaller.
const MAX_BLOB_BYTES: usize = 256 << 20;

/// A connection to a daemon. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
    address: Arc<str>,
}

/// Messages of the daemon.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, ClientError>> + Send>>;

impl Client {
    /// Connects to `unix://PATH` or `tcp://HOST:PORT` (row CCL-01).
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Unreachable`];
    /// [`ClientError::Certificate`] if a file of `tls` cannot be read.
    pub async fn connect(address: &str, tls: &TlsFiles) -> Result<Self, ClientError> {
        Ok(Self {
            channel: connect::connect(address, tls).await?,
            address: address.into(),
        })
    }

    /// Calls a daemon that `channel` leads to; `address` is for messages.
    pub(crate) fn over(channel: Channel, address: &str) -> Self {
        Self {
            channel,
            address: address.into(),
        }
    }

    /// Waits for a daemon that is starting, until it answers (row CCL-03).
    ///
    /// # Errors
    /// If it answers with an error, or `cancel` is cancelled.
    pub async fn wait(&self, cancel: &CancelToken) -> Result<(), ClientError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(cancel.check()?),
            ready = self.ready() => ready,
        }
    }

    async fn ready(&self) -> Result<(), ClientError> {
        loop {
            match self.info().await {
                Err(ClientError::Unreachable { .. }) => {}
                Err(ClientError::Daemon(failure)) if failure.code == Code::Unavailable as i32 => {}
                answer => return answer.map(drop),
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// Returns product and version (row CTL-01).
    ///
    /// # Errors
    /// If the daemon cannot be reached or answers without a version.
    pub async fn info(&self) -> Result<worker::BuildkitVersion, ClientError> {
        let answer = self.control().info(control::InfoRequest {}).await;
        let answer = self.answer(answer)?;
        let version = answer.buildkit_version;
        version.ok_or(ClientError::Malformed("Info without a version"))
    }

    /// Returns the workers that the filters let through (row CTL-02).
    ///
    /// # Errors
    /// If a filter is malformed or the daemon cannot be reached.
    pub async fn workers(
        &self,
        filters: &[String],
    ) -> Result<Vec<worker::WorkerRecord>, ClientError> {
        let request = control::ListWorkersRequest {
            filter: filters.to_vec(),
        };
        let answer = self.control().list_workers(request).await;
        Ok(self.answer(answer)?.record)
    }

    /// Returns what takes space (rows CTL-06 to CTL-09).
    ///
    /// # Errors
    /// If a filter is malformed or the daemon cannot be reached.
    pub async fn disk_usage(
        &self,
        request: control::DiskUsageRequest,
    ) -> Result<Vec<control::UsageRecord>, ClientError> {
        let answer = self.control().disk_usage(request).await;
        Ok(self.answer(answer)?.record)
    }

    /// Removes what is not needed; each message is a record that was removed (row CTL-10).
    ///
    /// # Errors
    /// If a filter is malformed or the daemon cannot be reached.
    pub async fn prune(
        &self,
        request: control::PruneRequest,
    ) -> Result<Messages<control::UsageRecord>, ClientError> {
        let answer = self.control().prune(request).await;
        Ok(self.messages(self.answer(answer)?))
    }

    /// Lists and follows builds (rows CTL-15 to CTL-20).
    ///
    /// # Errors
    /// If a filter is malformed or the daemon cannot be reached.
    pub async fn history(
        &self,
        request: control::BuildHistoryRequest,
    ) -> Result<Messages<control::BuildHistoryEvent>, ClientError> {
        let answer = self.control().listen_build_history(request).await;
        Ok(self.messages(self.answer(answer)?))
    }

    /// Pins, deletes or finalises a record (rows CTL-25 to CTL-27).
    ///
    /// # Errors
    /// If there is no such record or the daemon cannot be reached.
    pub async fn update_history(
        &self,
        request: control::UpdateBuildHistoryRequest,
    ) -> Result<(), ClientError> {
        let answer = self.control().update_build_history(request).await;
        self.answer(answer).map(drop)
    }

    /// Follows a build, or replays one (rows CSTA-01 to CSTA-14).
    ///
    /// # Errors
    /// If no build of that name appears in time.
    pub async fn status(&self, id: &str) -> Result<Messages<control::StatusResponse>, ClientError> {
        let request = control::StatusRequest { r#ref: id.into() };
        let answer = self.control().status(request).await;
        Ok(self.messages(self.answer(answer)?))
    }

    /// Reads a blob of a build or of the history (row OTH-04), and checks its digest.
    ///
    /// # Errors
    /// If the daemon has no such blob, or it is wrong or too large.
    pub async fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ClientError> {
        let request = content::ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let answer = self.content().read(request).await;
        let mut pieces = self.messages(self.answer(answer)?);
        let mut blob = Vec::new();
        while let Some(piece) = pieces.next().await {
            blob.extend_from_slice(&piece?.data);
            if blob.len() > MAX_BLOB_BYTES {
                let (digest, limit) = (*digest, MAX_BLOB_BYTES);
                return Err(ClientError::BlobTooLarge { digest, limit });
            }
        }
        match Digest::of(&blob) {
            found if found == *digest => Ok(blob),
            found => Err(ClientError::WrongBlob {
                wanted: *digest,
                found,
            }),
        }
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// Takes a call's answer, or explains its status.
    pub(crate) fn answer<T>(
        &self,
        answer: Result<tonic::Response<T>, Status>,
    ) -> Result<T, ClientError> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(ClientError::from_status(&status, &self.address)),
        }
    }

    fn messages<T: Send + 'static>(&self, stream: tonic::Streaming<T>) -> Messages<T> {
        let address = Arc::clone(&self.address);
        let explained = stream.map(move |message| {
            message.map_err(|status| ClientError::from_status(&status, &address))
        });
        Box::pin(explained)
    }
}
