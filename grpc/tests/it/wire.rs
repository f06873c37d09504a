//! Channels over any stream, and what BuildKit answers (`tests/goldens/wire.json`).

use std::io;
use std::sync::Mutex;

use hyper_util::rt::TokioIo;
use lamina_proto::rpc;
use prost::Message as _;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tower::service_fn;

/// Connects over a stream that is there already.
pub(crate) async fn channel<S>(stream: S) -> Channel
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let slot = Mutex::new(Some(stream));
    let connector = service_fn(move |_| {
        let stream = slot.lock().expect("unpoisoned").take();
        let gone = || io::Error::other("the stream is used up");
        std::future::ready(stream.map(TokioIo::new).ok_or_else(gone))
    });
    let endpoint = Endpoint::from_static("http://localhost").http2_max_header_list_size(1 << 20);
    let channel = endpoint.connect_with_connector(connector).await;
    channel.expect("an HTTP/2 server at the other end")
}

/// Reads what BuildKit answers.
pub(crate) fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/wire.json");
    let text = std::fs::read_to_string(path).expect("the recorded answers are in the repository");
    serde_json::from_str(&text).expect("JSON")
}

/// Shows a failed call as the recording does.
pub(crate) fn shown(status: &Status) -> Value {
    let details = match status.details() {
        [] => Value::Null,
        encoded => {
            let status = rpc::Status::decode(encoded).expect("a status");
            let details = status.details.iter().map(|any| {
                let value = String::from_utf8_lossy(&any.value).into_owned();
                json!({"type_url": any.type_url, "value": value})
            });
            details.collect()
        }
    };
    json!({
        "code": format!("{:?}", status.code()),
        "details": details,
        "message": status.message(),
    })
}
