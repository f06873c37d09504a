//! The two halves of a transfer against each other and against nonsense (rows SVC-02, SVC-05).

use std::collections::BTreeMap;
use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::packet::PacketType;
use lamina_session::FileEntry;
use lamina_session::FileReceiver;
use lamina_session::FileSender;
use lamina_session::PacketStream;
use lamina_session::Received;
use lamina_session::SessionError;
use lamina_session::stat_to_wire;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::wait;

/// A generator of numbers that a seed determines.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike.
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("fits") % limit
    }
}

pub(crate) fn stat(kind: FileKind, size: usize) -> Stat {
    Stat {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: size as u64,
        mtime_ns: 1_700_000_000_000_000_001,
        nlink: 1,
        link_target: Vec::new(),
        device: DeviceNumber::default(),
        xattrs: BTreeMap::new(),
    }
}

pub(crate) fn file(path: &str, size: usize) -> FileEntry {
    FileEntry {
        path: path.as_bytes().to_vec(),
        stat: stat(FileKind::File, size),
        hard_link: None,
    }
}

pub(crate) fn directory(path: &str) -> FileEntry {
    FileEntry {
        stat: stat(FileKind::Directory, 0),
        ..file(path, 0)
    }
}

fn packets(queue: mpsc::Receiver<Packet>) -> PacketStream {
    ReceiverStream::new(queue).map(Ok).boxed()
}

/// Two halves with that many packets between them.
pub(crate) fn halves(room: usize) -> (FileSender, FileReceiver) {
    let (to_receiver, from_sender) = mpsc::channel(room);
    let (to_sender, from_receiver) = mpsc::channel(room);
    (
        FileSender::new(packets(from_receiver), to_receiver),
        FileReceiver::new(packets(from_sender), to_sender),
    )
}

/// The data of the file with that number.
pub(crate) fn content(id: u32, size: u64) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8 ^ id as u8).collect()
}

/// Sends everything, two files at a time so that their pieces mix.
async fn send(mut sender: FileSender, entries: &[FileEntry]) -> Result<(), SessionError> {
    for entry in entries {
        sender.entry(entry).await?;
    }
    sender.entries_end().await?;
    while let Some(first) = sender.next_request().await? {
        let mut open: Vec<(u32, Bytes)> = vec![(first, data(entries, first))];
        while !open.is_empty() {
            for (id, rest) in &mut open {
                let piece = rest.split_to(rest.len().min(40_000));
                sender.data(*id, piece).await?;
                if rest.is_empty() {
                    sender.file_end(*id).await?;
                }
            }
            open.retain(|(_, rest)| !rest.is_empty());
        }
    }
    sender.finish().await
}

fn data(entries: &[FileEntry], id: u32) -> Bytes {
    content(id, entries[id as usize].stat.size).into()
}

pub(crate) type Tree = (Vec<FileEntry>, BTreeMap<u32, Vec<u8>>);

/// Receives everything and asks for the files that `wanted` picks.
pub(crate) async fn receive(
    mut receiver: FileReceiver,
    mut wanted: impl FnMut(&FileEntry) -> bool,
) -> Result<Tree, SessionError> {
    let mut tree: Tree = Tree::default();
    let mut open = 0;
    let mut entries_ended = false;
    while !entries_ended || open > 0 {
        match receiver.next().await?.expect("not over") {
            Received::Entry(entry) => {
                if entry.stat.kind == FileKind::File && wanted(&entry) {
                    let id = u32::try_from(tree.0.len()).expect("fits");
                    receiver.request(id).await?;
                    tree.1.insert(id, Vec::new());
                    open += 1;
                }
                tree.0.push(entry);
            }
            Received::EntriesEnd => entries_ended = true,
            Received::Data { id, data } => {
                tree.1
                    .get_mut(&id)
                    .expect("requested")
                    .extend_from_slice(&data);
            }
            Received::FileEnd { .. } => open -= 1,
        }
    }
    receiver.finish().await?;
    Ok(tree)
}

/// A random walk in path order.
fn walk(random: &mut Random, prefix: &str, depth: usize, into: &mut Vec<FileEntry>) {
    let names = ["a", "a.b", "b", "b-", "c", "\u{e9}"];
    for name in names {
        let path = format!("{prefix}{name}");
        match random.below(4) {
            0 => into.push(file(&path, random.below(3) * random.below(50_000))),
            1 if depth > 0 => {
                into.push(directory(&path));
                walk(random, &format!("{path}/"), depth - 1, into);
            }
            2 => {
                let mut link = file(&path, 0);
                link.stat = stat(FileKind::Symlink, 2);
                link.stat.link_target = b"..".to_vec();
                into.push(link);
            }
            _ => {}
        }
    }
}

#[test]
fn any_tree_arrives_as_it_was_sent() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut entries = Vec::new();
        walk(&mut random, "", 3, &mut entries);
        let room = 1 + random.below(4);
        let (sender, receiver) = halves(room);
        let (sent, received) = wait(async {
            let receiving = receive(receiver, |_| random.below(3) > 0);
            tokio::join!(send(sender, &entries), receiving)
        });
        sent.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let (got, data) = received.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(got, entries, "seed {seed}");
        for (id, data) in data {
            let size = entries[id as usize].stat.size;
            assert!(data == content(id, size), "seed {seed}, file {id}");
        }
    }
}

#[test]
fn a_hundred_thousand_requests_fill_no_channel() {
    let entries: Vec<FileEntry> = (0..100_000).map(|n| file(&format!("{n:06}"), 1)).collect();
    let (sender, receiver) = halves(1);
    let (sent, received) =
        wait(async { tokio::join!(send(sender, &entries), receive(receiver, |_| true)) });
    sent.expect("sent");
    assert_eq!(received.expect("received").1.len(), entries.len());
}

#[test]
fn hard_links_name_an_earlier_file() {
    let mut link = file("b", 0);
    link.hard_link = Some(b"a".to_vec());
    let entries = [file("a", 3), link];
    let (sender, receiver) = halves(4);
    let (sent, received) = wait(async {
        let first = |entry: &FileEntry| entry.hard_link.is_none();
        tokio::join!(send(sender, &entries), receive(receiver, first))
    });
    sent.expect("sent");
    assert_eq!(received.expect("received").0, entries);
}

#[test]
fn errors_are_told_to_the_other_side() {
    let (sender, mut receiver) = halves(4);
    let error = wait(async {
        sender.fail("no such luck").await;
        receiver.next().await
    });
    assert_eq!(
        error.expect_err("failed").to_string(),
        "error from sender: no such luck"
    );

    let (mut sender, receiver) = halves(4);
    let error = wait(async {
        receiver.fail("disk full").await;
        sender.next_request().await
    });
    assert_eq!(
        error.expect_err("failed").to_string(),
        "error from receiver: disk full"
    );
}

#[test]
fn names_that_are_not_text_cannot_be_sent() {
    let (mut sender, _receiver) = halves(4);
    let mut entry = file("", 0);
    entry.path = b"a\xff".to_vec();
    let error = wait(sender.entry(&entry)).expect_err("refused");
    assert!(error.to_string().contains("cannot be sent"), "{error}");
}

fn packet(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

fn entry(path: &str) -> Packet {
    Packet {
        stat: Some(stat_to_wire(path.as_bytes(), &stat(FileKind::File, 1))),
        ..packet(PacketType::PacketStat)
    }
}

fn bytes(id: u32, data: &'static str) -> Packet {
    Packet {
        id,
        data: Bytes::from(data),
        ..packet(PacketType::PacketData)
    }
}

#[test]
fn receivers_refuse_nonsense() {
    let stat = || packet(PacketType::PacketStat);
    let unknown = Packet {
        r#type: 77,
        ..Packet::default()
    };
    let mut negative = entry("a");
    negative.stat.as_mut().expect("an entry").size = -1;
    for (sent, wanted) in [
        (vec![entry("b"), entry("a")], "changes out of order: \"a\""),
        (vec![entry("../a")], "escape check: \"../a\""),
        (vec![stat(), entry("a")], "an entry after the last one"),
        (vec![stat(), stat()], "an entry after the last one"),
        (
            vec![entry("a"), bytes(0, "x")],
            "data of file 0, which was not requested",
        ),
        (
            vec![bytes(7, "")],
            "data of file 7, which was not requested",
        ),
        (
            vec![packet(PacketType::PacketReq)],
            "unexpected packet of type 1",
        ),
        (vec![unknown], "unexpected packet of type 77"),
        (vec![negative], "size -1"),
        (vec![entry("a")], "the sender of files is gone"),
    ] {
        let (sink, _requests) = mpsc::channel(8);
        let sent = futures_util::stream::iter(sent.into_iter().map(Ok)).boxed();
        let mut receiver = FileReceiver::new(sent, sink);
        let error = wait(async {
            loop {
                if let Err(error) = receiver.next().await {
                    return error.to_string();
                }
            }
        });
        assert!(error.contains(wanted), "{error} instead of {wanted}");
    }
}

#[test]
fn a_receiver_asks_only_for_what_came_and_once() {
    let (sink, _requests) = mpsc::channel(8);
    let sent = futures_util::stream::iter([Ok(entry("a"))]).chain(futures_util::stream::pending());
    let mut receiver = FileReceiver::new(sent.boxed(), sink);
    wait(async {
        receiver.next().await.expect("an entry");
        assert!(receiver.request(1).await.is_err());
        receiver.request(0).await.expect("it came");
        assert!(receiver.request(0).await.is_err());
    });
}

#[test]
fn a_sender_gives_only_what_it_offered_and_once() {
    let request = |id| Packet {
        id,
        ..packet(PacketType::PacketReq)
    };
    for (requests, wanted) in [
        (vec![request(2)], "invalid file id 2"),
        (vec![request(0)], "invalid file id 0"),
        (vec![request(1), request(1)], "invalid file id 1"),
        (
            vec![packet(PacketType::PacketData)],
            "unexpected packet of type 2",
        ),
        (vec![request(1)], "the receiver of files is gone"),
    ] {
        // The entries go out first: nothing else is read until they are there.
        let (sink, _entries) = mpsc::channel(8);
        let (say, said) = mpsc::channel(8);
        let mut sender = FileSender::new(packets(said), sink);
        let mut requests = VecDeque::from(requests);
        let error = wait(async {
            sender.entry(&directory("a")).await?;
            sender.entry(&file("a/b", 1)).await?;
            while let Some(request) = requests.pop_front() {
                say.send(request).await.expect("room");
            }
            drop(say);
            loop {
                sender.next_request().await?;
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            Ok::<_, SessionError>(())
        });
        assert!(
            error
                .as_ref()
                .is_err_and(|error| error.to_string().contains(wanted)),
            "{error:?} instead of {wanted}"
        );
    }
}

#[test]
fn a_broken_stream_says_why() {
    let (sink, _requests) = mpsc::channel(1);
    let broken = futures_util::stream::iter([Err(Status::unavailable("session x is gone"))]);
    let mut receiver = FileReceiver::new(broken.boxed(), sink);
    match wait(receiver.next()) {
        Err(SessionError::Remote { message, gone }) => {
            assert_eq!((message.as_str(), gone), ("session x is gone", true));
        }
        other => panic!("{other:?}"),
    }
}
