//! Directories of the client (rows SVC-01, SVC-02, SVC-05, SVC-06, SES-04, SES-08).

use std::sync::Arc;
use std::sync::Mutex;

use futures_util::StreamExt;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::packet::PacketType;
use lamina_session::FileReceiver;
use lamina_session::FileSender;
use lamina_session::LocalFiles;
use lamina_session::LocalRequest;
use lamina_session::Received;
use lamina_session::SessionError;
use lamina_session::stat_to_wire;
use lamina_types::FileKind;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use crate::fake;
use crate::fake::Answers;
use crate::fake::Fake;
use crate::fake::FileSync;
use crate::fake::Streams;
use crate::transfer::directory;
use crate::transfer::file;
use crate::transfer::stat;

/// A client's half of a transfer over the answers of a call.
fn sender(messages: Streaming<Packet>, answers: Answers<Packet>) -> FileSender {
    let (sink, mut queue) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(packet) = queue.recv().await {
            if answers.send(Ok(packet)).await.is_err() {
                return;
            }
        }
    });
    FileSender::new(messages.boxed(), sink)
}

fn request(name: &str) -> LocalRequest {
    LocalRequest {
        name: name.to_owned(),
        ..LocalRequest::default()
    }
}

fn open(fake: &Fake, request: &LocalRequest) -> Result<FileReceiver, SessionError> {
    match fake.wait(fake.session.local_files(request))? {
        LocalFiles::Remote(receiver) => Ok(receiver),
        LocalFiles::Host { .. } => panic!("the client is not on this host"),
    }
}

/// Receives until an error.
async fn failure(mut receiver: FileReceiver) -> SessionError {
    loop {
        match receiver.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the transfer ended well"),
            Err(error) => return error,
        }
    }
}

#[test]
fn entries_and_requested_data_arrive() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::new(FileSync, |_, messages, answers| async {
            let mut sender = sender(messages, answers);
            sender.entry(&directory("dir")).await.expect("sent");
            sender
                .entry(&file("dir/file", 100_000))
                .await
                .expect("sent");
            sender.entry(&file("other", 5)).await.expect("sent");
            sender.entries_end().await.expect("sent");
            while let Some(id) = sender.next_request().await.expect("asked") {
                sender
                    .data(id, vec![b'x'; 100_000].into())
                    .await
                    .expect("sent");
                sender.file_end(id).await.expect("sent");
            }
            sender.finish().await.expect("agreed");
        }));
    });
    let mut receiver = open(&fake, &request("context")).expect("offered");
    let (names, size) = fake.wait(async {
        let (mut names, mut size) = (Vec::new(), 0);
        loop {
            match receiver.next().await.expect("received").expect("not over") {
                Received::Entry(entry) => names.push(entry.path),
                Received::EntriesEnd => receiver.request(1).await.expect("asked"),
                Received::Data { id, data } => {
                    assert_eq!(id, 1);
                    size += data.len();
                }
                Received::FileEnd { .. } => break,
            }
        }
        receiver.finish().await.expect("agreed");
        (names, size)
    });
    assert_eq!(names, [&b"dir"[..], b"dir/file", b"other"]);
    assert_eq!(size, 100_000);
}

#[test]
fn the_request_travels_as_metadata() {
    let seen: Arc<Mutex<Option<MetadataMap>>> = Arc::default();
    let fake = Fake::start(|services| {
        let seen = Arc::clone(&seen);
        services.add_service(Streams::<_, Packet>::new(
            FileSync,
            move |metadata, _, answers| {
                *seen.lock().expect("no panic") = Some(metadata);
                async move {
                    let refused = Status::not_found("no access allowed to dir \"context\"");
                    drop(answers.send(Err(refused)).await);
                }
            },
        ));
    });
    let request = LocalRequest {
        name: "context".to_owned(),
        includes: vec!["a b".to_owned(), "c".to_owned()],
        excludes: vec!["ü x".to_owned(), "100%".to_owned()],
        follow: vec!["link".to_owned()],
    };
    match open(&fake, &request).expect_err("refused") {
        SessionError::NoSuchDirectory { name } => assert_eq!(name, "context"),
        other => panic!("{other:?}"),
    }
    let seen = seen.lock().expect("no panic").take().expect("called");
    for (key, values) in [
        ("dir-name", &["context"][..]),
        ("include-patterns", &["a b", "c"]),
        ("include-patterns-encoded", &[]),
        ("exclude-patterns", &["%C3%BC+x", "100%25"]),
        ("exclude-patterns-encoded", &["1"]),
        ("followpaths", &["link"]),
    ] {
        let found: Vec<_> = seen.get_all(key).iter().collect();
        assert_eq!(found, values, "{key}");
    }
}

#[test]
fn a_client_that_announced_no_directories_is_not_asked() {
    let info = lamina_session::SessionInfo {
        methods: Vec::new(),
        ..fake::info("quiet")
    };
    let fake = Fake::start_as(info, |_| {});
    let error = open(&fake, &request("context")).expect_err("refused");
    assert_eq!(error.to_string(), "no local sources enabled");
}

fn entry(path: &str) -> Packet {
    Packet {
        stat: Some(stat_to_wire(path.as_bytes(), &stat(FileKind::File, 1))),
        ..Packet::default()
    }
}

/// Receives from a client that sends `packets` and then `last`, and never ends.
fn misbehave(packets: Vec<Packet>, last: Option<Status>) -> SessionError {
    let fake = Fake::start(|services| {
        services.add_service(Streams::new(FileSync, move |_, mut messages, answers| {
            let (packets, last) = (packets.clone(), last.clone());
            async move {
                for packet in packets {
                    drop(answers.send(Ok(packet)).await);
                }
                if let Some(status) = last {
                    drop(answers.send(Err(status)).await);
                }
                while let Some(Ok(_)) = messages.next().await {}
            }
        }));
    });
    match open(&fake, &request("context")) {
        Ok(receiver) => fake.wait(failure(receiver)),
        Err(error) => error,
    }
}

#[test]
fn clients_that_break_the_rules_are_refused() {
    let kind = |kind: PacketType| Packet {
        r#type: kind.into(),
        ..Packet::default()
    };
    let error_packet = Packet {
        data: "disk on fire".into(),
        ..kind(PacketType::PacketErr)
    };
    for (packets, last, wanted) in [
        (
            vec![entry("b"), entry("a")],
            None,
            "changes out of order: \"a\"",
        ),
        (
            vec![entry("a"), entry("a")],
            None,
            "changes out of order: \"a\"",
        ),
        (
            vec![entry("../etc/passwd")],
            None,
            "escape check: \"../etc/passwd\"",
        ),
        (
            vec![entry("/etc/passwd")],
            None,
            "absolute path: \"/etc/passwd\"",
        ),
        (vec![entry("a/b")], None, "changes out of order: \"a/b\""),
        (
            vec![entry("a"), kind(PacketType::PacketData)],
            None,
            "not requested",
        ),
        (vec![kind(PacketType::PacketReq)], None, "unexpected packet"),
        (
            vec![entry("a"), error_packet],
            None,
            "error from sender: disk on fire",
        ),
        (
            vec![entry("a")],
            Some(Status::unknown("permission denied")),
            "permission denied",
        ),
        (vec![], Some(Status::unknown("cannot walk")), "cannot walk"),
        (
            vec![],
            Some(Status::unimplemented("what?")),
            "no local sources enabled",
        ),
    ] {
        let error = misbehave(packets, last).to_string();
        assert!(error.contains(wanted), "{error} instead of {wanted}");
    }
}

#[test]
fn a_client_that_dies_half_way_fails_the_transfer_at_once() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::new(FileSync, |_, _messages, answers| async move {
            drop(answers.send(Ok(entry("a"))).await);
            std::future::pending::<()>().await;
        }));
    });
    let mut receiver = open(&fake, &request("context")).expect("offered");
    let first = fake.wait(receiver.next()).expect("received");
    assert!(matches!(first, Some(Received::Entry(_))));
    fake.kill();
    match fake.wait(failure(receiver)) {
        SessionError::Remote { message, gone } => {
            assert!(gone, "{message}");
            assert_eq!(message, "session fake is gone");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hundred_thousand_files_pass_without_being_kept() {
    let fake = Fake::start(|services| {
        services.add_service(Streams::new(FileSync, |_, messages, answers| async {
            let mut sender = sender(messages, answers);
            for number in 0..100_000 {
                sender
                    .entry(&file(&format!("{number:06}"), 10))
                    .await
                    .expect("sent");
            }
            sender.entries_end().await.expect("sent");
            while let Some(id) = sender.next_request().await.expect("asked") {
                sender.data(id, "0123456789".into()).await.expect("sent");
                sender.file_end(id).await.expect("sent");
            }
            sender.finish().await.expect("agreed");
        }));
    });
    let mut receiver = open(&fake, &request("context")).expect("offered");
    let before = resident_kib();
    let files = fake.wait(async {
        let (mut entries, mut files) = (0, 0);
        while files < 100_000 {
            match receiver.next().await.expect("received").expect("not over") {
                Received::Entry(_) => {
                    receiver.request(entries).await.expect("asked");
                    entries += 1;
                }
                Received::FileEnd { .. } => files += 1,
                _ => {}
            }
        }
        receiver.finish().await.expect("agreed");
        files
    });
    assert_eq!(files, 100_000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 96 << 10, "memory grew by {grown} KiB");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}
