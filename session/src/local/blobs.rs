//! Folders with blobs on this host: image layouts and build caches (row SVC-19).
//!
//! ```text
//! oci-layout                  written with the first blob
//! blobs/sha256/<hex>          complete and of that digest
//! blobs/sha256/.<hex>.*       being written
//! ```
//! Files are read and written on a thread for each open blob, so that no task waits for a disk.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use bytes::BytesMut;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::Sha256Hasher;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

use crate::BlobReader;
use crate::BlobStore;
use crate::SessionError;
use crate::StoreId;

/// Pieces that go between a task and the thread that does its reading or writing.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 2;

/// The file that marks a layout.
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

pub(super) fn not_offered(store: &StoreId) -> SessionError {
    match store {
        StoreId::Layout(name) => SessionError::NoSuchLayout { name: name.clone() },
        StoreId::Cache(_) | StoreId::Export => SessionError::NoSuchStore {
            id: store.wire_name(),
        },
    }
}

/// One folder.
pub(super) struct DirectoryBlobs {
    dir: PathBuf,
    /// A layout that the user gave is for reading.
    writable: bool,
}

impl DirectoryBlobs {
    pub(super) fn new(dir: &Path, store: &StoreId) -> Self {
        Self {
            dir: dir.to_owned(),
            writable: !matches!(store, StoreId::Layout(_)),
        }
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder().join(digest.hex())
    }

    /// Makes the folders and the file that marks a layout.
    fn prepare(&self) -> Result<(), SessionError> {
        let folder = self.folder();
        fs::create_dir_all(&folder).at(folder.display())?;
        let layout = self.dir.join(LAYOUT_FILE);
        if !layout.exists() {
            let temporary = temporary(&self.dir, LAYOUT_FILE);
            fs::write(&temporary, LAYOUT_TEXT).at(temporary.display())?;
            fs::rename(&temporary, &layout).at(layout.display())?;
        }
        Ok(())
    }
}

/// A fresh name for a file that is not complete.
fn temporary(folder: &Path, name: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{name}.{}-{count}", std::process::id()))
}

#[async_trait]
impl BlobStore for DirectoryBlobs {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SessionError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Err(error).at(path.display())?),
        }
    }

    async fn read(&self, digest: &Digest, offset: u64) -> Result<BlobReader, SessionError> {
        let path = self.path(digest);
        let mut file = File::open(&path).at(path.display())?;
        file.seek(SeekFrom::Start(offset)).at(path.display())?;
        let (sink, pieces) = mpsc::channel(PIECES_AHEAD);
        std::thread::spawn(move || read_pieces(&mut file, &sink));
        Ok(Box::new(StreamReader::new(ReceiverStream::new(pieces))))
    }

    async fn write(
        &self,
        digest: &Digest,
        size: u64,
        data: BlobReader,
    ) -> Result<(), SessionError> {
        if self.size(digest).await?.is_some() {
            return Ok(());
        }
        let path = self.path(digest);
        if !self.writable {
            Err(io::Error::from(io::ErrorKind::PermissionDenied)).at(path.display())?;
        }
        self.prepare()?;
        let blob = Incoming {
            temporary: temporary(&self.folder(), &digest.hex()),
            path: path.clone(),
            digest: *digest,
            size,
        };
        let (sink, pieces) = mpsc::channel(PIECES_AHEAD);
        let (done, outcome) = oneshot::channel();
        // The receiver is gone if nobody waits for the blob any more.
        std::thread::spawn(move || drop(done.send(blob.write(pieces))));
        pass_on(data, &sink).await.at(digest)?;
        drop(sink);
        let stopped = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        Ok(outcome
            .await
            .map_err(stopped)
            .flatten()
            .at(path.display())?)
    }
}

fn read_pieces(file: &mut File, sink: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).map(|length| {
            piece.truncate(length);
            Bytes::from(piece)
        });
        let last = !matches!(&read, Ok(piece) if !piece.is_empty());
        // An empty piece would be a message without data; the end is the end of the channel.
        if matches!(&read, Ok(piece) if piece.is_empty()) || sink.blocking_send(read).is_err() {
            return;
        }
        if last {
            return;
        }
    }
}

/// Passes all data on, and an empty piece at its end: without it the writer knows that data is
/// missing.
async fn pass_on(mut data: BlobReader, sink: &mpsc::Sender<Bytes>) -> io::Result<()> {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        data.read_buf(&mut piece).await?;
        let last = piece.is_empty();
        // A writer that has failed tells why.
        if sink.send(piece.freeze()).await.is_err() || last {
            return Ok(());
        }
    }
}

/// A blob that is being written. It goes away with this unless it was renamed into place.
struct Incoming {
    temporary: PathBuf,
    path: PathBuf,
    digest: Digest,
    size: u64,
}

impl Incoming {
    fn write(self, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<()> {
        let mut file = File::create_new(&self.temporary)?;
        let mut hasher = Sha256Hasher::new();
        let mut size = 0;
        loop {
            let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let piece = pieces.blocking_recv().ok_or_else(missing)?;
            if piece.is_empty() {
                break;
            }
            size += piece.len() as u64;
            hasher.update(&piece);
            file.write_all(&piece)?;
        }
        self.check(size, hasher.finish())?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }

    fn check(&self, size: u64, digest: Digest) -> io::Result<()> {
        let problem = if size != self.size {
            format!("{size} bytes came instead of {}", self.size)
        } else if digest != self.digest {
            format!("the data has the digest {digest}")
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After the rename there is nothing under this name.
        drop(fs::remove_file(&self.temporary));
    }
}
