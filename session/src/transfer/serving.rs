//! Sending the data that the other side asks for, read ahead of its sending (rows SVC-02, SVC-08).
//!
//! ```text
//! requests ──numbers──▶ reading, a batch of files at a time ──pieces──▶ sending, in order of requests
//! ```
//! A small file costs more to hand to a thread and to wait for than to read. So files are read in
//! batches, which threads can share, and the next batch is read while this one is on its way.
//!
//! Memory: three batches, one that is read, one that waits and one that is sent, of [`AHEAD_BYTES`]
//! each. Files stay in the order in which they were asked for, and a file is complete before the
//! next begins, so the receiver sees what it would see of a sender that reads one at a time.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::FileSender;
use crate::SessionError;

/// Most data of one batch, and of one piece of a file.
pub const AHEAD_BYTES: usize = 1 << 20;

/// Most files of one batch: each is open for a moment, and a batch should be on its way soon.
const AHEAD_FILES: usize = 64;

/// A piece of a file, and the file if there is more of it.
#[derive(Debug)]
pub struct FilePiece<F> {
    /// In the order of the file; empty only at its end.
    pub data: Bytes,
    /// `None` = that was all.
    pub rest: Option<F>,
}

/// Reads the files of a directory that is sent. Both methods wait for threads and do not block.
#[async_trait]
pub trait FileSource: Sync {
    /// Why a file cannot be read, or the transfer not go on.
    type Error: From<SessionError> + Send;
    /// A file of which more is to be read.
    type File: Send;

    /// Returns the size that was said of an entry: so much of the file is read at first. Of what is
    /// no entry, anything: [`begin`](Self::begin) refuses it.
    fn size(&self, id: u32) -> u64;

    /// Opens entries and reads the first piece of each: no more than a byte beyond its
    /// [`size`](Self::size), and no more than [`AHEAD_BYTES`]. Returns one for each, in their order.
    ///
    /// # Errors
    /// The first that occurs, in the order of entries.
    async fn begin(&self, ids: Vec<u32>) -> Result<Vec<FilePiece<Self::File>>, Self::Error>;

    /// Reads the next piece, at most [`AHEAD_BYTES`].
    ///
    /// # Errors
    /// If the file cannot be read.
    async fn more(&self, file: Self::File) -> Result<FilePiece<Self::File>, Self::Error>;
}

/// Entries with their first pieces.
type Batch<F> = Vec<(u32, FilePiece<F>)>;

impl FileSender {
    /// Sends all data that the receiver asks for, until it has all that it wants. To be called when
    /// all entries are sent.
    ///
    /// # Errors
    /// If a file cannot be read, or the receiver is gone, reports an error or wants what it cannot
    /// have.
    pub async fn serve<S: FileSource>(&mut self, source: &S) -> Result<(), S::Error> {
        // Each file can be asked for once, so this is no longer than the list of entries.
        let (ids, wanted) = mpsc::unbounded_channel();
        let (batches, read) = mpsc::channel(1);
        // When one of them ends, so does the other: each holds an end of both channels.
        let reading = read_ahead(source, wanted, batches);
        tokio::try_join!(reading, self.send_batches(source, ids, read))?;
        Ok(())
    }

    /// Passes requests on and sends what was read for them. What the receiver says may come at any
    /// time, so it is looked at also while nothing can be sent.
    async fn send_batches<S: FileSource>(
        &mut self,
        source: &S,
        ids: mpsc::UnboundedSender<u32>,
        mut read: mpsc::Receiver<Batch<S::File>>,
    ) -> Result<(), S::Error> {
        loop {
            tokio::select! {
                biased;
                batch = read.recv() => {
                    // Without one, reading has failed, and says why.
                    let Some(batch) = batch else { return Ok(()) };
                    for (id, piece) in batch {
                        self.send_file(source, id, piece).await?;
                    }
                }
                request = self.next_request() => {
                    let Some(id) = request? else { return Ok(()) };
                    ids.send(id).ok();
                }
            }
            // Reading that takes no more numbers has failed.
            self.noted().for_each(|id| {
                ids.send(id).ok();
            });
        }
    }

    /// Sends one file; while a piece of it is on its way the next is read.
    async fn send_file<S: FileSource>(
        &mut self,
        source: &S,
        id: u32,
        first: FilePiece<S::File>,
    ) -> Result<(), S::Error> {
        let mut piece = first;
        while let Some(rest) = piece.rest {
            let sending = async { Ok(self.data(id, piece.data).await?) };
            ((), piece) = tokio::try_join!(sending, source.more(rest))?;
        }
        self.data(id, piece.data).await?;
        Ok(self.file_end(id).await?)
    }
}

/// Reads what is wanted until nobody takes it any more.
async fn read_ahead<S: FileSource>(
    source: &S,
    mut wanted: mpsc::UnboundedReceiver<u32>,
    batches: mpsc::Sender<Batch<S::File>>,
) -> Result<(), S::Error> {
    let mut ids = Vec::with_capacity(AHEAD_FILES);
    while wanted.recv_many(&mut ids, AHEAD_FILES).await > 0 {
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_len(rest, source));
            let pieces = source.begin(batch.to_vec()).await?;
            let batch = batch.iter().copied().zip(pieces).collect();
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
            rest = later;
        }
        ids.clear();
    }
    Ok(())
}

/// Returns how many of the files, at least one, are read together.
fn batch_len(ids: &[u32], source: &impl FileSource) -> usize {
    let mut bytes = 0_u64;
    let fit = ids.iter().take_while(|id| {
        bytes = bytes.saturating_add(source.size(**id));
        bytes <= AHEAD_BYTES as u64
    });
    fit.count().max(1)
}
