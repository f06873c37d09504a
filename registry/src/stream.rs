//! Between the network, which waits, and files, which block.
//!
//! A download has a thread that writes, an upload one that reads; bounded channels hold a few
//! chunks between them and the connection, so neither side can run away from the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream;
use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_types::Digest;
use lamina_types::PathError;
use lamina_types::Progress;
use lamina_types::StepStatus;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Chunks in flight; with chunks of up to 256 KiB this is a few megabytes.
const CHUNKS: usize = 16;
const UPLOAD_CHUNK_BYTES: usize = 256 << 10;

/// Shortest time between two reports on one transfer.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Reports how far one transfer is (row CSTA-09); the status id is the digest.
#[derive(Clone)]
pub(crate) struct Meter {
    progress: Progress,
    id: String,
    action: &'static str,
    total: u64,
    started: SystemTime,
}

impl Meter {
    pub(crate) fn start(
        progress: &Progress,
        digest: &Digest,
        action: &'static str,
        total: u64,
    ) -> Self {
        let meter = Self {
            progress: progress.clone(),
            id: digest.to_string(),
            action,
            total,
            started: SystemTime::now(),
        };
        meter.report(0, None);
        meter
    }

    fn report(&self, current: u64, completed: Option<SystemTime>) {
        self.progress.status(StepStatus {
            id: self.id.clone(),
            name: self.action.to_owned(),
            current,
            total: self.total,
            started: Some(self.started),
            completed,
        });
    }

    pub(crate) fn finish(&self) {
        self.report(self.total, Some(SystemTime::now()));
    }

    pub(crate) fn ticker(self) -> Ticker {
        Ticker {
            meter: self,
            current: 0,
            reported: Instant::now(),
        }
    }
}

/// Counts bytes and reports now and then.
pub(crate) struct Ticker {
    meter: Meter,
    current: u64,
    reported: Instant,
}

impl Ticker {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.current += bytes;
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.reported = Instant::now();
            self.meter.report(self.current, None);
        }
    }
}

/// A blob on its way into the content store. Dropping it discards what came so far.
pub(crate) struct BlobWriter {
    chunks: mpsc::Sender<Bytes>,
    finish: oneshot::Sender<Digest>,
    outcome: oneshot::Receiver<Result<u64, ContentError>>,
}

impl BlobWriter {
    pub(crate) fn start(store: &ContentStore) -> Self {
        let store = store.clone();
        let (chunks, incoming) = mpsc::channel(CHUNKS);
        let (finish, finished) = oneshot::channel();
        let (sender, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            let result = write_blob(&store, incoming, finished);
            if let Some(result) = result.transpose() {
                // Nobody may be left to hear it.
                drop(sender.send(result));
            }
        });
        Self {
            chunks,
            finish,
            outcome,
        }
    }

    /// Appends a chunk. Says `false` if the writer has stopped; [`Self::commit`] has the reason.
    pub(crate) async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Puts the blob into the store if its digest is `expected`; returns its size.
    pub(crate) async fn commit(self, expected: Digest) -> Result<u64, ContentError> {
        // The writer takes it after the last chunk, unless it has failed before.
        self.finish.send(expected).ok();
        drop(self.chunks);
        self.outcome
            .await
            .unwrap_or_else(|_| Err(writer_lost().into()))
    }
}

fn writer_lost() -> PathError {
    PathError {
        path: "content store".to_owned(),
        source: io::Error::other("the writer ended without a result"),
    }
}

/// `None` = abandoned.
fn write_blob(
    store: &ContentStore,
    mut chunks: mpsc::Receiver<Bytes>,
    mut finished: oneshot::Receiver<Digest>,
) -> Result<Option<u64>, ContentError> {
    let mut ingest = store.ingest()?;
    while let Some(chunk) = chunks.blocking_recv() {
        ingest.append(&chunk)?;
    }
    match finished.try_recv() {
        Ok(expected) => Ok(Some(ingest.commit(Some(&expected))?.1)),
        Err(_) => Ok(None),
    }
}

/// A file to be sent; cheap to clone, and each use reads it from its beginning.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) file: Arc<File>,
    pub(crate) size: u64,
    pub(crate) meter: Meter,
}

impl Upload {
    /// Starts a thread that reads, and returns what it reads as a request body.
    pub(crate) fn body(&self) -> reqwest::Body {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let upload = self.clone();
        std::thread::spawn(move || upload.read_into(&sender));
        reqwest::Body::wrap_stream(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        }))
    }

    fn read_into(self, sender: &mpsc::Sender<io::Result<Bytes>>) {
        let mut ticker = self.meter.ticker();
        let mut offset = 0;
        while offset < self.size {
            let chunk = read_chunk(&self.file, offset, self.size - offset);
            let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
            offset += length;
            ticker.add(length);
        }
    }
}

fn read_chunk(file: &File, offset: u64, left: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(left).map_or(UPLOAD_CHUNK_BYTES, |l| l.min(UPLOAD_CHUNK_BYTES));
    let mut chunk = vec![0; wanted];
    file.read_exact_at(&mut chunk, offset)?;
    Ok(chunk.into())
}
