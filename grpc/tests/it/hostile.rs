//! Clients that send nonsense: nobody else notices (CVE-2024-23650 and GHSA-9p26-698r-w4hx, CVE-2026-15792
//! and GHSA-qx3x-mv6r-52p6).

use bytes::Buf as _;
use bytes::BufMut as _;
use bytes::Bytes;
use lamina_grpc::MAX_MESSAGE_BYTES;
use lamina_proto::control;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use proptest::collection;
use proptest::prelude::any;
use proptest::strategy::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codec::BufferSettings;
use tonic::codec::Codec;
use tonic::codec::DecodeBuf;
use tonic::codec::Decoder;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic::transport::Channel;

use crate::block_on;
use crate::bridge::MemoryBridge;
use crate::bridge::PANICS;
use crate::bridge::definition;
use crate::daemon::daemon;
use crate::gateway::with_pipe;
use crate::harness::Outcome;
use crate::valid;

/// Messages for each method.
const ROUNDS: usize = 40;

/// How long an answer is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(300);

/// Sends and receives bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// Sends odd versions of `valid` to `path`; each is answered somehow.
async fn torment(channel: &Channel, path: &'static str, valid: &[u8], build: &str) {
    let mut runner = TestRunner::deterministic();
    let edits = collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8);
    let strategy = (
        edits,
        collection::vec(any::<u8>(), 0..64),
        any::<proptest::sample::Index>(),
    );
    for _ in 0..ROUNDS {
        let (edits, tail, cut) = strategy.new_tree(&mut runner).expect("a value").current();
        let mut bytes = valid.to_vec();
        for (index, byte) in edits {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        if !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes.extend(tail);
        let mut client = Grpc::new(channel.clone());
        client.ready().await.expect("the connection lives");
        let mut request = Request::new(Bytes::from(bytes));
        let id = build.parse().expect("a value");
        request
            .metadata_mut()
            .insert("buildkit-controlapi-buildid", id);
        let answer = call(&mut client, request, path);
        // What has become a build that its client is to drive has no end.
        if let Ok(Err(status)) = tokio::time::timeout(PATIENCE, answer).await {
            assert!(!is_panic(&status), "{path}: {status:?}");
        }
    }
}

/// Reads the whole answer, which is one message or many.
async fn call(
    client: &mut Grpc<Channel>,
    request: Request<Bytes>,
    path: &'static str,
) -> Result<(), tonic::Status> {
    let path = path.parse().expect("a path");
    let answer = client.server_streaming(request, path, Raw).await?;
    let mut messages = answer.into_inner();
    while messages.message().await?.is_some() {}
    Ok(())
}

/// A panic in a call of its own resets the stream, one in a build or in a task is told as such.
fn is_panic(status: &tonic::Status) -> bool {
    let broken = std::error::Error::source(status).is_some();
    let message = status.message();
    broken || message.contains("internal error") || message.contains("panicked")
}

/// Every request of LLBBridge, on a pipe.
pub(crate) fn odd_bytes_on_a_pipe_harm_nobody() -> Outcome {
    with_pipe(MemoryBridge::with_options(&[]), async |channel| {
        for (method, valid) in valid::of_gateway() {
            let path = format!("/moby.buildkit.v1.frontend.LLBBridge/{method}");
            torment(&channel, path.leak(), &valid, "x").await;
        }
        let mut client = LlbBridgeClient::new(channel);
        client.ping(gateway::PingRequest {}).await.expect("pong");
    });
    Outcome::Passed
}

/// Requests of the daemon socket, and one that is too large.
pub(crate) fn odd_bytes_harm_nobody() -> Outcome {
    block_on(async {
        let daemon = daemon!();
        let channel = daemon.connect().await;
        for (path, valid) in valid::of_socket() {
            let rounds = torment(&channel, path, &valid, "x");
            let limited = tokio::time::timeout(std::time::Duration::from_secs(60), rounds);
            limited
                .await
                .unwrap_or_else(|_| panic!("{path}: no answer"));
        }
        let mut client = daemon.control().await;
        let mut large = valid::build();
        large.definition = Some(definition(&vec![0; MAX_MESSAGE_BYTES]));
        let status = client.solve(large).await.expect_err("too large");
        assert_eq!(status.code(), tonic::Code::OutOfRange);
        client.info(control::InfoRequest {}).await.expect("answers");
        let workers = client.list_workers(control::ListWorkersRequest::default());
        assert_eq!(workers.await.expect("answers").into_inner().record.len(), 1);
        Outcome::Passed
    })
}

/// What tells panics apart does so for one in a call.
pub(crate) fn panics_are_seen() -> Outcome {
    with_pipe(MemoryBridge::with_options(&[]), async |channel| {
        let mut client = LlbBridgeClient::new(channel.clone());
        let id = crate::gateway::reference(&mut client, b"x").await;
        let read = gateway::StatFileRequest {
            r#ref: id,
            path: PANICS.to_owned(),
            ..gateway::StatFileRequest::default()
        };
        let path = "/moby.buildkit.v1.frontend.LLBBridge/StatFile";
        let mut raw = Grpc::new(channel);
        raw.ready().await.expect("the connection lives");
        let request = Request::new(Bytes::from(encoded(&read)));
        let status = call(&mut raw, request, path).await.expect_err("a panic");
        assert!(is_panic(&status), "{status:?}");
    });
    Outcome::Passed
}

fn encoded(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}
