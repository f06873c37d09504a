//! Results for the client (rows SVC-08, SVC-09).

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;

use futures_util::StreamExt;
use lamina_proto::filesync::BytesMessage;
use lamina_proto::fsutil::Packet;
use lamina_session::DirectoryTarget;
use lamina_session::FileReceiver;
use lamina_session::FileTarget;
use lamina_session::Received;
use lamina_session::SessionError;
use lamina_session::SessionInfo;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use crate::fake;
use crate::fake::Answers;
use crate::fake::Fake;
use crate::fake::FileSend;
use crate::fake::PATIENCE;
use crate::fake::Streams;
use crate::transfer::directory;
use crate::transfer::file;

fn open(fake: &Fake, exporter: usize) -> Result<Box<dyn FileTarget>, SessionError> {
    let response = BTreeMap::from([
        ("containerimage.digest".to_owned(), "sha256:00".to_owned()),
        ("not a key".to_owned(), "left out".to_owned()),
    ]);
    fake.wait(fake.session.file_target(exporter, &response))
}

/// What a client got: the data and how its stream ended.
type Got = (MetadataMap, Vec<u8>, Result<(), Status>);

async fn collect(metadata: MetadataMap, mut messages: Streaming<BytesMessage>) -> Got {
    let mut data = Vec::new();
    loop {
        match messages.next().await {
            Some(Ok(message)) => {
                assert!(message.data.len() <= 3 << 20, "stock clients refuse more");
                data.extend_from_slice(&message.data);
            }
            Some(Err(status)) => return (metadata, data, Err(status)),
            None => return (metadata, data, Ok(())),
        }
    }
}

/// A client that takes results and answers with `answer`.
fn taker(got: Sender<Got>, answer: Option<Status>) -> Fake {
    Fake::start(|services| {
        services.add_service(Streams::new(
            FileSend,
            move |metadata, messages, answers| {
                let (got, answer) = (got.clone(), answer.clone());
                async move {
                    got.send(collect(metadata, messages).await)
                        .expect("asked for");
                    if let Some(status) = answer {
                        drop(answers.send(Err(status)).await);
                    }
                }
            },
        ));
    })
}

#[test]
fn an_archive_arrives_whole_with_its_metadata() {
    let (sender, got) = channel();
    let fake = taker(sender, None);
    let mut target = open(&fake, 3).expect("opens");
    let data: Vec<u8> = (0..5_000_001_u32).map(|n| n.to_le_bytes()[0]).collect();
    for piece in data.chunks(700_001) {
        target.write_all(piece).expect("written");
    }
    target.finish().expect("taken");
    let (metadata, found, end) = got.recv_timeout(PATIENCE).expect("got");
    assert!(end.is_ok());
    assert!(found == data);
    let value = |key| metadata.get(key).and_then(|value| value.to_str().ok());
    assert_eq!(value("buildkit-attachable-exporter-id"), Some("3"));
    assert_eq!(
        value("exporter-md-containerimage.digest"),
        Some("sha256:00")
    );
}

#[test]
fn an_empty_archive_is_an_archive() {
    let (sender, got) = channel();
    let fake = taker(sender, None);
    open(&fake, 0).expect("opens").finish().expect("taken");
    let (_, data, end) = got.recv_timeout(PATIENCE).expect("got");
    assert!(data.is_empty() && end.is_ok());
}

#[test]
fn an_archive_that_was_not_finished_does_not_look_complete() {
    let (sender, got) = channel();
    let fake = taker(sender, None);
    let mut target = open(&fake, 0).expect("opens");
    target.write_all(&vec![1; 3 << 20]).expect("written");
    drop(target);
    let (_, _, end) = got.recv_timeout(PATIENCE).expect("got");
    assert!(end.is_err(), "the client must not take half for the whole");
}

#[test]
fn the_answer_at_the_end_counts() {
    for (answer, wanted) in [
        (Status::already_exists("target already exists"), None),
        (
            Status::unknown("no space left on device"),
            Some("no space left on device"),
        ),
    ] {
        let (sender, _got) = channel();
        let fake = taker(sender, Some(answer));
        let mut target = open(&fake, 0).expect("opens");
        target.write_all(b"data").expect("written");
        let error = target.finish().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), wanted);
    }
}

/// A client that answers before it has read anything.
fn refuser(answer: Status) -> Fake {
    Fake::start(|services| {
        let refuse = move |_, messages: Streaming<BytesMessage>, answers: Answers<BytesMessage>| {
            let answer = answer.clone();
            async move {
                drop(answers.send(Err(answer)).await);
                drop(messages);
            }
        };
        services.add_service(Streams::new(FileSend, refuse));
    })
}

#[test]
fn an_early_refusal_stops_the_writer() {
    let fake = refuser(Status::unknown("exporter 0 not found"));
    let mut target = open(&fake, 0).expect("opens");
    let piece = vec![0; 1 << 20];
    let error = (0..100).find_map(|_| target.write_all(&piece).err());
    assert_eq!(error.expect("refused").to_string(), "exporter 0 not found");
    assert!(target.finish().is_err());
}

#[test]
fn a_client_that_has_it_already_stops_nothing() {
    let fake = refuser(Status::already_exists("target already exists"));
    let mut target = open(&fake, 0).expect("opens");
    for _ in 0..20 {
        target.write_all(&[0; 1 << 20]).expect("discarded");
    }
    target.finish().expect("content");
}

#[test]
fn a_client_that_ends_too_soon_has_not_taken_it() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::<_, BytesMessage>::new(FileSend, |_, _, _| async {}));
    });
    let mut target = open(&fake, 0).expect("opens");
    let piece = vec![0; 1 << 20];
    let error = (0..100).find_map(|_| target.write_all(&piece).err());
    let wanted = "the client stopped before the end of the result";
    assert_eq!(error.expect("stopped").to_string(), wanted);
}

#[test]
fn a_client_that_dies_stops_the_writer() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::<_, BytesMessage>::new(
            FileSend,
            |_, _messages, answers| async move {
                std::future::pending::<()>().await;
                drop(answers);
            },
        ));
    });
    let mut target = open(&fake, 0).expect("opens");
    target.write_all(&[0; 2 << 20]).expect("on its way");
    fake.kill();
    let error = target.finish().expect_err("gone");
    assert!(
        matches!(error, SessionError::Remote { gone: true, .. }),
        "{error:?}"
    );
}

#[test]
fn clients_that_announced_nothing_get_nothing() {
    let info = SessionInfo {
        methods: Vec::new(),
        ..fake::info("quiet")
    };
    let fake = Fake::start_as(info, |_| {});
    let wanted = "method /moby.filesync.v1.FileSend/diffcopy not supported by the client";
    assert_eq!(open(&fake, 0).err().expect("refused").to_string(), wanted);
    let error = fake.wait(fake.session.directory_target(0, false));
    assert_eq!(error.expect_err("refused").to_string(), wanted);
}

/// The client's half of a transfer over the answers of a call.
fn receiver(messages: Streaming<Packet>, answers: Answers<Packet>) -> FileReceiver {
    let (sink, mut queue) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(packet) = queue.recv().await {
            if answers.send(Ok(packet)).await.is_err() {
                return;
            }
        }
    });
    FileReceiver::new(messages.boxed(), sink)
}

#[test]
fn a_directory_is_sent_as_packets() {
    let (sender, got) = channel();
    let fake = Fake::start(|services| {
        services.add_service(Streams::new(
            FileSend,
            move |metadata: MetadataMap, messages, answers| {
                let sender = sender.clone();
                async move {
                    let mut receiver = receiver(messages, answers);
                    let mut seen = Vec::new();
                    loop {
                        match receiver.next().await.expect("received").expect("not over") {
                            Received::Entry(entry) => seen.push(entry.path),
                            Received::EntriesEnd => receiver.request(1).await.expect("asked"),
                            Received::Data { data, .. } => seen.push(data.to_vec()),
                            Received::FileEnd { .. } => break,
                        }
                    }
                    receiver.finish().await.expect("agreed");
                    sender.send((metadata, seen)).expect("asked for");
                }
            },
        ));
    });
    let target = fake
        .wait(fake.session.directory_target(2, true))
        .expect("opens");
    let DirectoryTarget::Remote(mut sending) = target else {
        panic!("the client is not on this host");
    };
    fake.wait(async {
        sending.entry(&directory("bin")).await?;
        sending.entry(&file("bin/app", 3)).await?;
        sending.entries_end().await?;
        while let Some(id) = sending.next_request().await? {
            sending.data(id, "app".into()).await?;
            sending.file_end(id).await?;
        }
        sending.finish().await
    })
    .expect("sent");
    let (metadata, seen) = got.recv_timeout(PATIENCE).expect("got");
    assert_eq!(seen, [&b"bin"[..], b"bin/app", b"app"]);
    let value = |key| metadata.get(key).and_then(|value| value.to_str().ok());
    assert_eq!(value("buildkit-attachable-exporter-id"), Some("2"));
    assert_eq!(value("buildkit-exporter-multi-platform"), Some("1"));
}

#[test]
fn a_client_that_refuses_a_directory_says_why() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::<_, Packet>::new(
            FileSend,
            |_, _, answers: Answers<Packet>| async move {
                drop(
                    answers
                        .send(Err(Status::unknown("exporter 0 not found")))
                        .await,
                );
            },
        ));
    });
    let target = fake
        .wait(fake.session.directory_target(0, false))
        .expect("opens");
    let DirectoryTarget::Remote(mut sender) = target else {
        panic!("the client is not on this host");
    };
    let error = fake.wait(async {
        loop {
            if let Err(error) = sender.entry(&file("a", 1)).await {
                return error;
            }
        }
    });
    assert_eq!(error.to_string(), "exporter 0 not found");
}
