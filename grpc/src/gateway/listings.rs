//! ReadDir, answered from memory in the encoding of the wire.
//!
//! Frontends and clients list the same directories again and again, and a listing of a few hundred
//! names takes longer to put together and to encode than all else of the call. A reference never
//! changes, so the encoded answer is good as long as the build lives. [`Gateway`] is the generated
//! service but for this one method, whose messages it sends as they are remembered:
//!
//! ```text
//! /moby.buildkit.v1.frontend.LLBBridge/ReadDir  -> DrivenBuild::listing -> Listings
//!                                     /*        -> LlbBridgeServer
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use bytes::BufMut as _;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lamina_llb::BuildError;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_server::LlbBridgeServer;
use prost::Message as _;
use tonic::Response;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::BufferSettings;
use tonic::codec::Codec;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic::server::Grpc;
use tonic::server::NamedService;
use tonic_prost::ProstDecoder;
use tower::Service;

use super::DrivenBuild;
use super::GatewayService;
use crate::MAX_MESSAGE_BYTES;

/// The method that is answered here.
const READ_DIR: &str = "/moby.buildkit.v1.frontend.LLBBridge/ReadDir";

/// Bytes of all that is remembered of one build, with the questions.
const MAX_BYTES: usize = 1 << 20;
/// What an answer takes beside its bytes.
const OVERHEAD_BYTES: usize = 256;

/// Encoded answers of one build, the first [`MAX_BYTES`] of them.
#[derive(Default)]
pub(super) struct Listings(Mutex<Known>);

#[derive(Default)]
struct Known {
    answers: HashMap<gateway::ReadDirRequest, Bytes>,
    bytes: usize,
}

impl Listings {
    fn get(&self, question: &gateway::ReadDirRequest) -> Option<Bytes> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.answers.get(question).cloned()
    }

    fn put(&self, question: gateway::ReadDirRequest, answer: &Bytes) {
        let bytes = OVERHEAD_BYTES + question.encoded_len() + answer.len();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.bytes + bytes > MAX_BYTES {
            return;
        }
        if known.answers.insert(question, answer.clone()).is_none() {
            known.bytes += bytes;
        }
    }
}

impl DrivenBuild {
    /// Answers ReadDir with an encoded `ReadDirResponse` (row GW-26).
    pub(super) async fn listing(
        &self,
        request: gateway::ReadDirRequest,
    ) -> Result<Bytes, BuildError> {
        if let Some(known) = self.listings.get(&request) {
            return Ok(known);
        }
        let answer = self.read_dir(request.clone()).await?;
        let answer = Bytes::from(answer.encode_to_vec());
        self.listings.put(request, &answer);
        Ok(answer)
    }
}

/// LLBBridge with a shorter way for ReadDir.
#[derive(Clone)]
pub(crate) struct Gateway {
    service: GatewayService,
    generated: LlbBridgeServer<GatewayService>,
}

impl Gateway {
    pub(crate) fn new(service: GatewayService) -> Self {
        let generated = LlbBridgeServer::new(service.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { service, generated }
    }
}

impl NamedService for Gateway {
    const NAME: &'static str = LlbBridgeServer::<GatewayService>::NAME;
}

impl Service<http::Request<Body>> for Gateway {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != READ_DIR {
            return self.generated.call(request);
        }
        let service = self.service.clone();
        let read = tower::service_fn(move |request| {
            let service = service.clone();
            async move { service.listing(request).await.map(Response::new) }
        });
        let limit = Some(MAX_MESSAGE_BYTES);
        let mut grpc = Grpc::new(Encoded).apply_max_message_size_config(limit, limit);
        Box::pin(async move { Ok(grpc.unary(read, request).await) })
    }
}

/// Sends answers that are encoded already.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = gateway::ReadDirRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<gateway::ReadDirRequest>;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, answer: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(path: usize) -> gateway::ReadDirRequest {
        gateway::ReadDirRequest {
            dir_path: path.to_string(),
            ..gateway::ReadDirRequest::default()
        }
    }

    #[test]
    fn answers_are_remembered_within_bounds() {
        let listings = Listings::default();
        let answer = Bytes::from(vec![7; MAX_BYTES / 10]);
        for path in 0..20 {
            listings.put(question(path), &answer);
            listings.put(question(path), &answer);
        }
        let known = |path: &usize| listings.get(&question(*path)).is_some();
        assert_eq!((0..20).filter(known).count(), 9);
        assert_eq!(listings.get(&question(0)), Some(answer));
        listings.put(question(99), &Bytes::from_static(b"small"));
        assert!(known(&99), "there is room for that");
        let other = gateway::ReadDirRequest {
            include_pattern: "g*".to_owned(),
            ..question(0)
        };
        assert_eq!(listings.get(&other), None, "another question");
    }
}
