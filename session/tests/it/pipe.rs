//! Bytes over messages (row SES-01).

use bytes::Bytes;
use futures_util::StreamExt;
use lamina_session::MessagePipe;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::wait;

fn pair(messages: usize) -> (MessagePipe, MessagePipe) {
    let (to_left, left) = mpsc::channel(messages);
    let (to_right, right) = mpsc::channel(messages);
    (
        MessagePipe::new(ReceiverStream::new(left).map(Ok), to_right),
        MessagePipe::new(ReceiverStream::new(right).map(Ok), to_left),
    )
}

#[test]
fn large_writes_arrive_whole_and_in_order() {
    let data: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0]).collect();
    let received = wait(async {
        let (mut left, mut right) = pair(2);
        let mut received = Vec::new();
        let write = async {
            left.write_all(&data).await.expect("written");
            left.shutdown().await.expect("shut down");
        };
        let read = async { right.read_to_end(&mut received).await.expect("read") };
        tokio::join!(write, read);
        received
    });
    assert!(received == data);
}

#[test]
fn both_directions_go_on_after_one_has_ended() {
    wait(async {
        let (mut left, mut right) = pair(1);
        left.shutdown().await.expect("shut down");
        let mut text = String::new();
        right.read_to_string(&mut text).await.expect("ended");
        right.write_all(b"still here").await.expect("written");
        drop(right);
        left.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "still here");
    });
}

#[test]
fn a_slow_reader_stops_the_writer() {
    wait(async {
        let (sink, mut sent) = mpsc::channel(2);
        let mut pipe = MessagePipe::new(futures_util::stream::pending(), sink);
        pipe.write_all(&[1; 64 << 10]).await.expect("two messages");
        let full = futures_util::poll!(std::pin::pin!(pipe.write_all(b"x")));
        assert!(full.is_pending());
        assert_eq!(sent.recv().await.expect("a message").len(), 32 << 10);
        pipe.write_all(b"x").await.expect("room again");
    });
}

#[test]
fn what_cannot_be_read_or_written_is_an_error() {
    wait(async {
        let (sink, sent) = mpsc::channel(1);
        let incoming = [
            Ok(Bytes::new()),
            Ok(Bytes::from("ab")),
            Err(Status::cancelled("gone")),
        ];
        let mut pipe = MessagePipe::new(futures_util::stream::iter(incoming), sink);
        let mut text = [0; 2];
        pipe.read_exact(&mut text).await.expect("read");
        let error = pipe.read(&mut text).await.expect_err("broken");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(pipe.read(&mut text).await.expect("the end"), 0);
        drop(sent);
        let error = pipe.write_all(b"x").await.expect_err("nobody reads");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn empty_messages_without_end_let_others_run() {
    wait(async {
        let (sink, _sent) = mpsc::channel(1);
        let empty = futures_util::stream::repeat_with(|| Ok(Bytes::new()));
        let mut pipe = MessagePipe::new(empty, sink);
        let mut byte = [0];
        let others = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = pipe.read(&mut byte) => panic!("there is nothing to read"),
            () = others => {}
        }
    });
}
