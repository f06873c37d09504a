//! Messages of a call that may be broken off.
//!
//! The end of a request's messages means that all of them were sent, and a client takes what it got
//! for the whole. A writer that gives up half way must not end the stream in that way: it sends an
//! error, which resets the stream instead.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::Codec;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic_prost::ProstCodec;

/// Encodes `Ok` as a message and resets the stream at `Err`.
pub(super) struct BreakableCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BreakableCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BreakableCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = Result<T, Status>;
    type Decode = U;
    type Encoder = BreakableEncoder<T>;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        BreakableEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::new().decoder()
    }
}

pub(super) struct BreakableEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for BreakableEncoder<T> {
    type Item = Result<T, Status>;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = item?.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}
