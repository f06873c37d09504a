//! The way to one client, which breaks for all calls at once (row SES-08).

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use lamina_types::CancelToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::SessionError;

/// Messages from the client; they end with an error when the session does.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Makes calls to one client. Clones share the connection.
#[derive(Clone)]
pub(super) struct Link {
    id: Arc<str>,
    channel: Channel,
    ended: CancelToken,
}

impl Link {
    pub(super) fn new(id: &str, channel: Channel, ended: CancelToken) -> Self {
        Self {
            id: id.into(),
            channel,
            ended,
        }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits for an answer as long as the session lives. The inner result is the client's.
    pub(super) async fn call<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<Result<T, Status>, SessionError> {
        let answer = tokio::select! {
            biased;
            () = self.ended.cancelled() => return Err(self.lost()),
            answer = answer => answer,
        };
        match answer {
            // The connection fails a moment before the session is seen to be over.
            Err(status) if is_broken(&status) => Err(self.lost()),
            answer => Ok(answer),
        }
    }

    /// Passes messages on as long as the session lives.
    pub(super) fn messages<T: Send + 'static>(
        &self,
        mut messages: impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
    ) -> Messages<T> {
        let lost = self.lost_status();
        let ended = self.ended.clone();
        let mut ended = Box::pin(async move { ended.cancelled().await });
        let mut done = false;
        futures_util::stream::poll_fn(move |cx| {
            if done {
                return Poll::Ready(None);
            }
            if ended.as_mut().poll(cx).is_ready() {
                done = true;
                return Poll::Ready(Some(Err(lost.clone())));
            }
            let message = std::task::ready!(messages.poll_next_unpin(cx));
            done = !matches!(message, Some(Ok(_)));
            Poll::Ready(message.map(|message| {
                message.map_err(|status| {
                    if is_broken(&status) {
                        lost.clone()
                    } else {
                        status
                    }
                })
            }))
        })
        .boxed()
    }

    /// Starts a call whose answer may not begin before the client was sent something, and returns
    /// the messages of its answer. Dropping them ends the call.
    pub(super) fn start<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    ) -> Messages<T> {
        let call = AbortOnDropHandle::new(tokio::spawn(call));
        let answer = futures_util::stream::once(async move {
            let answer = call.await;
            let answer = answer.map_err(|_| Status::cancelled("the call was stopped"))?;
            answer.map(Response::into_inner)
        });
        self.messages(answer.try_flatten().boxed())
    }

    pub(super) fn lost(&self) -> SessionError {
        SessionError::from_status(self.lost_status())
    }

    fn lost_status(&self) -> Status {
        Status::unavailable(format!("session {} is gone", self.id))
    }
}

/// Tells a connection that broke from an answer, and from a single call that the client has reset.
/// Only what went wrong on this side has a cause.
fn is_broken(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    let has_cause = cause.is_some();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_io() || error.is_go_away();
        }
        cause = error.source();
    }
    has_cause
}
