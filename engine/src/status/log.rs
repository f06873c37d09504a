//! A build's messages in a file that grows, and those who read it.
//!
//! The format is the one of stored logs (row CTL-22): for each message four bytes of length, little
//! endian, and then the message. The writer says how far the file is complete; readers never look
//! beyond that.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use lamina_proto::control;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use prost::Message;
use tokio::sync::watch;

/// A log as readers see it. Clones share it.
#[derive(Clone)]
pub(crate) struct StatusLog(Arc<Shared>);

struct Shared {
    file: OnceLock<File>,
    end: watch::Sender<End>,
}

/// How far a log is complete.
#[derive(Clone, Copy, Default)]
struct End {
    bytes: u64,
    closed: bool,
}

/// The writing end; dropping it closes the log and removes the file's name.
pub(super) struct LogWriter {
    log: StatusLog,
    path: PathBuf,
    hasher: Sha256Hasher,
    bytes: u64,
    /// Nothing can be written any more; readers keep what is there.
    broken: bool,
}

/// A whole log, still under its temporary name; the file goes with this unless it was moved.
pub(crate) struct FinishedLog {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl Drop for FinishedLog {
    fn drop(&mut self) {
        // Gone if it was stored; the next start sweeps what cannot be removed.
        drop(std::fs::remove_file(&self.path));
    }
}

impl StatusLog {
    /// Starts a log at `path`; the file is made with the first message.
    pub(super) fn create(path: &Path) -> (Self, LogWriter) {
        let log = Self(Arc::new(Shared {
            file: OnceLock::new(),
            end: watch::Sender::default(),
        }));
        let writer = LogWriter {
            log: log.clone(),
            path: path.to_owned(),
            hasher: Sha256Hasher::new(),
            bytes: 0,
            broken: false,
        };
        (log, writer)
    }

    /// Returns a log that is complete.
    pub(crate) fn stored(file: File, bytes: u64) -> Self {
        let closed = true;
        Self(Arc::new(Shared {
            file: OnceLock::from(file),
            end: watch::Sender::new(End { bytes, closed }),
        }))
    }

    /// Reads it from the beginning to the end.
    pub(crate) fn read(&self) -> LogReader {
        LogReader {
            end: self.0.end.subscribe(),
            log: self.clone(),
            offset: 0,
        }
    }

    /// Returns a log of nothing.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        let log = Self(Arc::new(Shared {
            file: OnceLock::new(),
            end: watch::Sender::default(),
        }));
        log.0.end.send_modify(|end| end.closed = true);
        log
    }

    /// Waits until nothing more is written.
    #[cfg(test)]
    pub(crate) async fn closed(&self) {
        let mut end = self.0.end.subscribe();
        drop(end.wait_for(|end| end.closed).await);
    }
}

impl LogWriter {
    /// Appends messages. Trouble with the disk ends the log for its readers, not the build.
    pub(super) fn append(&mut self, messages: &[control::StatusResponse]) {
        if messages.is_empty() || self.broken {
            return;
        }
        let mut data = Vec::new();
        for message in messages {
            let bytes = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
            data.extend(bytes.to_le_bytes());
            message.encode_raw(&mut data);
        }
        if let Err(error) = self.write(&data) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "progress could not be written; nobody sees the rest");
            self.broken = true;
            self.cut();
            return;
        }
        self.hasher.update(&data);
        self.bytes += data.len() as u64;
        self.log.0.end.send_modify(|end| end.bytes = self.bytes);
    }

    /// Takes away what was written of the messages that did not fit: the file is stored as far as its
    /// readers have seen it.
    fn cut(&self) {
        let Some(file) = self.log.0.file.get() else {
            return;
        };
        if let Err(error) = file.set_len(self.bytes) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "half a message stays at the end of a log");
        }
    }

    fn write(&self, data: &[u8]) -> io::Result<()> {
        let mut file = match self.log.0.file.get() {
            Some(file) => file,
            None => {
                let file = make(&self.path)?;
                self.log.0.file.get_or_init(|| file)
            }
        };
        file.write_all(data)
    }

    /// Ends the log for its readers.
    pub(super) fn close(&self) {
        self.log.0.end.send_modify(|end| end.closed = true);
    }

    /// Hands the file over for storing; `None` if nothing was ever written.
    pub(super) fn finish(mut self) -> Option<FinishedLog> {
        self.close();
        self.log.0.file.get()?;
        Some(FinishedLog {
            path: std::mem::take(&mut self.path),
            digest: std::mem::take(&mut self.hasher).finish(),
            bytes: self.bytes,
        })
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.close();
        if !self.path.as_os_str().is_empty() && self.log.0.file.get().is_some() {
            // The next start sweeps what cannot be removed.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Somebody who reads a log.
pub(crate) struct LogReader {
    log: StatusLog,
    end: watch::Receiver<End>,
    offset: u64,
}

impl LogReader {
    /// Returns the next message, waiting for it; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<control::StatusResponse> {
        loop {
            let end = *self.end.borrow_and_update();
            if self.offset < end.bytes {
                return self.read_message(end.bytes);
            }
            if end.closed || self.end.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Reads what is in the page cache as a rule: it was written a moment ago.
    fn read_message(&mut self, end: u64) -> Option<control::StatusResponse> {
        let file = self.log.0.file.get()?;
        let mut length = [0; 4];
        file.read_exact_at(&mut length, self.offset).ok()?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > end - self.offset {
            return None;
        }
        let mut data = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut data, self.offset + 4).ok()?;
        self.offset += 4 + length;
        control::StatusResponse::decode(data.as_slice()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> control::StatusResponse {
        control::StatusResponse {
            vertexes: vec![control::Vertex {
                name: name.to_owned(),
                ..control::Vertex::default()
            }],
            ..control::StatusResponse::default()
        }
    }

    async fn all(mut reader: LogReader) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(message) = reader.next().await {
            names.extend(message.vertexes.into_iter().map(|vertex| vertex.name));
        }
        names
    }

    #[tokio::test]
    async fn readers_see_everything_whenever_they_come() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let (log, mut writer) = StatusLog::create(&path);
        let early = tokio::spawn(all(log.read()));
        writer.append(&[message("a")]);
        let middle = tokio::spawn(all(log.read()));
        writer.append(&[message("b"), message("c")]);
        let finished = writer.finish().expect("written");
        for reader in [early, middle, tokio::spawn(all(log.read()))] {
            assert_eq!(reader.await.expect("reads"), ["a", "b", "c"]);
        }
        let data = std::fs::read(&path).expect("a file");
        assert_eq!(finished.digest, Digest::of(&data));
        assert_eq!(finished.bytes, data.len() as u64);
        let file = File::open(&path).expect("opens");
        let stored = StatusLog::stored(file, finished.bytes);
        assert_eq!(all(stored.read()).await, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_dropped_writer_ends_the_log_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let (log, mut writer) = StatusLog::create(&path);
        writer.append(&[message("a")]);
        let reader = tokio::spawn(all(log.read()));
        drop(writer);
        assert_eq!(reader.await.expect("reads"), ["a"]);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_was_written_by_half_is_cut_off() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let (log, mut writer) = StatusLog::create(&path);
        writer.append(&[message("a")]);
        writer.write(b"\x10\0\0\0half").expect("written");
        writer.cut();
        let finished = writer.finish().expect("written");
        assert_eq!(all(log.read()).await, ["a"]);
        let data = std::fs::read(&path).expect("a file");
        assert_eq!(finished.digest, Digest::of(&data));
    }

    #[tokio::test]
    async fn nothing_written_is_no_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, writer) = StatusLog::create(&dir.path().join("log"));
        assert!(writer.finish().is_none());
        log.closed().await;
        assert!(all(log.read()).await.is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn damage_ends_a_stored_log() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        std::fs::write(&path, b"\xff\xff\xff\xffabc").expect("a file");
        let stored = StatusLog::stored(File::open(&path).expect("opens"), 7);
        assert!(all(stored.read()).await.is_empty());
    }
}
