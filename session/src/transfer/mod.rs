//! Sending a directory from one side of a session to the other (row SVC-02).
//!
//! ```text
//! sender                           receiver
//! STAT (entry 0), STAT (entry 1)..
//!                                  REQ 1                  as soon as an entry is seen to be new
//! DATA 1, DATA 1, DATA 1 (empty)                          empty = end of that file
//! STAT (empty) = no more entries
//!                                  FIN
//! FIN
//! ```
//! Either side may send ERR with a text instead. Both halves are plain objects over a stream and a
//! sink of packets, so that they serve the daemon and the client alike.
//!
//! Neither half can block the other for good. A receiver that asks for many files while the sender
//! is busy with entries would fill the way to the sender, and the sender, whose packets nobody
//! reads meanwhile, the way back. So [`FileReceiver::request`] only notes the number; it is sent
//! while [`FileReceiver::next`] waits. In the same way the sender takes requests while it waits
//! for room.
//!
//! ```
//! use lamina_session::FileReceiver;
//! use lamina_session::FileSender;
//! use lamina_session::Received;
//! # use lamina_session::FileEntry;
//! # use lamina_types::{DeviceNumber, FileKind, Stat};
//! # use std::collections::BTreeMap;
//! # use futures_util::StreamExt;
//! # fn packets(mut r: tokio::sync::mpsc::Receiver<lamina_proto::fsutil::Packet>) -> lamina_session::PacketStream {
//! #     futures_util::stream::poll_fn(move |cx| r.poll_recv(cx)).map(Ok).boxed()
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let stat = Stat { kind: FileKind::File, mode: 0o644, uid: 0, gid: 0, size: 2, mtime_ns: 0,
//! #     nlink: 1, link_target: vec![], device: DeviceNumber::default(), xattrs: BTreeMap::new() };
//! # let (to_receiver, from_sender) = tokio::sync::mpsc::channel(8);
//! # let (to_sender, from_receiver) = tokio::sync::mpsc::channel(8);
//! let mut sender = FileSender::new(packets(from_receiver), to_receiver);
//! let mut receiver = FileReceiver::new(packets(from_sender), to_sender);
//! let sending = async {
//!     let path = b"a.txt".to_vec();
//!     sender.entry(&FileEntry { path, stat, hard_link: None }).await?;
//!     sender.entries_end().await?;
//!     while let Some(id) = sender.next_request().await? {
//!         sender.data(id, "hi".into()).await?;
//!         sender.file_end(id).await?;
//!     }
//!     sender.finish().await
//! };
//! let receiving = async {
//!     while let Some(received) = receiver.next().await? {
//!         match received {
//!             Received::Entry(_) => receiver.request(0).await?,
//!             Received::Data { data, .. } => assert_eq!(data, "hi"),
//!             Received::FileEnd { .. } => break,
//!             Received::EntriesEnd => {}
//!         }
//!     }
//!     receiver.finish().await
//! };
//! let (sent, received) = tokio::join!(sending, receiving);
//! sent.and(received).unwrap();
//! # });
//! ```

mod open_file;
mod order;
mod receiver;
mod sender;
mod serving;
mod wire;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::packet::PacketType;
use lamina_types::FileKind;
use lamina_types::Stat;
use tonic::Status;

pub use open_file::OpenFile;
pub use receiver::FileReceiver;
pub use sender::FileSender;
pub use serving::AHEAD_BYTES;
pub use serving::FilePiece;
pub use serving::FileSource;
pub use wire::stat_from_wire;
pub use wire::stat_to_wire;

/// Largest piece of data in one packet, as stock clients send: they take no message of more than
/// 4 MiB, and small pieces of several files share a connection fairly.
pub const DATA_BYTES: usize = 32 << 10;

/// Packets from the other side.
pub type PacketStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

/// One entry of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// Relative, without `.` and `..`.
    pub path: Vec<u8>,
    /// Describes it.
    pub stat: Stat,
    /// An earlier entry that this is a further name of.
    pub hard_link: Option<Vec<u8>>,
}

impl FileEntry {
    /// Says whether there is data to ask for; both sides must agree on it.
    fn has_data(&self) -> bool {
        self.stat.kind == FileKind::File
    }
}

/// What the sender says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// The next entry; they come in path order and are numbered from 0.
    Entry(FileEntry),
    /// There are no more entries.
    EntriesEnd,
    /// A piece of a file that was requested.
    Data {
        /// Number of its entry.
        id: u32,
        /// In the order of the file.
        data: Bytes,
    },
    /// A file that was requested is complete.
    FileEnd {
        /// Number of its entry.
        id: u32,
    },
}

fn packet(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

fn failure(reason: &str) -> Packet {
    Packet {
        data: Bytes::copy_from_slice(reason.as_bytes()),
        ..packet(PacketType::PacketErr)
    }
}

/// The text of an ERR packet.
fn reason(packet: &Packet) -> String {
    String::from_utf8_lossy(&packet.data).into_owned()
}
