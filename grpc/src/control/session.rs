//! The tunnel in which the client is the server (rows CTL-14, SES-01, SES-03).

use std::time::Duration;

use futures_util::StreamExt as _;
use lamina_proto::control::BytesMessage;
use lamina_session::MessagePipe;
use lamina_session::SessionInfo;
use lamina_session::SessionManager;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use super::Messages;
use super::ending_with;
use super::internal;

/// Messages that wait for the network before the writer does.
const BACKLOG: usize = 16;

/// Shortest time limit of health checks that a client may ask for (row SES-05).
const LEAST_HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Gives the tunnel to the manager, which uses it from a task of its own, and returns what goes
/// to the client: bytes until the session ends, then why, if something was wrong.
///
/// # Errors
/// `InvalidArgument` if the client does not say who it is.
pub(super) fn attach(
    sessions: SessionManager,
    request: Request<Streaming<BytesMessage>>,
) -> Result<Messages<BytesMessage>, Status> {
    let info = info(request.metadata())?;
    let incoming = request.into_inner();
    let incoming = incoming.map(|message| message.map(|message| message.data));
    let (sender, outgoing) = mpsc::channel(BACKLOG);
    let pipe = MessagePipe::new(incoming, sender);
    let attached = tokio::spawn(async move {
        let id = info.id.clone();
        let ended = sessions.attach(info, Box::new(pipe)).await;
        tracing::debug!(session = %id, ?ended, "a session has ended");
        ended.map_err(|error| Status::unknown(error.to_string()))
    });
    let end = async move { attached.await.unwrap_or_else(|error| Err(internal(&error))) };
    let bytes = ReceiverStream::new(outgoing).map(|data| Ok(BytesMessage { data }));
    Ok(ending_with(bytes, end))
}

fn info(call: &MetadataMap) -> Result<SessionInfo, Status> {
    let text = |key: &str| {
        let value = call.get(key).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let id = text("x-docker-expose-session-uuid");
    if id.is_empty() {
        return Err(Status::invalid_argument("the session has no id"));
    }
    let methods = call.get_all("x-docker-expose-session-grpc-method");
    let methods = methods.iter().filter_map(|method| method.to_str().ok());
    Ok(SessionInfo {
        id,
        name: text("x-docker-expose-session-name"),
        shared_key: text("x-docker-expose-session-sharedkey"),
        methods: methods.map(str::to_lowercase).collect(),
        health_timeout: health_timeout(&text("x-buildkit-session-health-custom-timeout")),
    })
}

/// Milliseconds; anything else is as if it were not said.
fn health_timeout(text: &str) -> Option<Duration> {
    let milliseconds = text.parse().ok()?;
    Some(Duration::from_millis(milliseconds).max(LEAST_HEALTH_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&'static str, &str)]) -> MetadataMap {
        let mut call = MetadataMap::new();
        for (key, value) in headers {
            call.append(*key, value.parse().expect("a value"));
        }
        call
    }

    #[test]
    fn headers_describe_the_session() {
        let call = call(&[
            ("x-docker-expose-session-uuid", "id"),
            ("x-docker-expose-session-name", "name"),
            ("x-docker-expose-session-sharedkey", "key"),
            ("x-docker-expose-session-grpc-method", "/a.B/C"),
            ("x-docker-expose-session-grpc-method", "/d.E/F"),
            ("x-buildkit-session-health-custom-timeout", "2500"),
        ]);
        let expected = SessionInfo {
            id: "id".to_owned(),
            name: "name".to_owned(),
            shared_key: "key".to_owned(),
            methods: vec!["/a.b/c".to_owned(), "/d.e/f".to_owned()],
            health_timeout: Some(Duration::from_millis(2500)),
        };
        assert_eq!(info(&call).expect("complete"), expected);
    }

    #[test]
    fn a_session_without_id_is_refused() {
        let refused = info(&call(&[("x-docker-expose-session-name", "name")]));
        let code = refused.expect_err("no id").code();
        assert_eq!(code, tonic::Code::InvalidArgument);
    }

    #[test]
    fn odd_time_limits_are_tamed() {
        for (text, expected) in [
            ("", None),
            ("soon", None),
            ("-1", None),
            ("10", Some(1000)),
            ("99999999999999999999999", None),
            ("1500", Some(1500)),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(health_timeout(text), expected, "{text:?}");
        }
    }
}
