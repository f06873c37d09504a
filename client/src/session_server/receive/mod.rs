//! Receiving a directory of results (rows SVC-05, SVC-08).
//!
//! The directory is reached through handles only ([`Destination`]): a symlink in it is replaced, not
//! followed.
//!
//! What comes is written in [batches](Batch), each while the next one comes; further names, the
//! removal of what is not in the result, and the modes and times of directories follow when all data
//! is there. Memory: the entries, and the data of the files that are open and of two batches.
//!
//! The daemon is not trusted: whatever paths it sends, nothing is written outside the directory.
//!
//! All files belong to the caller, who can then change and remove them (row ELO-07).

mod batch;
mod write;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lamina_session::FileEntry;
use lamina_session::FileReceiver;
use lamina_session::Received;
use lamina_session::host::Destination;
use lamina_types::FileKind;
use tokio::sync::oneshot;

use super::error::ServeError;
use super::offer::Offer;
use batch::Batch;
use write::OpenFile;

/// Files whose data is on its way at once; each may hold [`write::BUFFER_BYTES`] in memory.
const FILES_AT_ONCE: usize = 64;

/// Fills the directory at `path`, which exists; `ended` learns how it went. With `mirror` all that
/// is not in the result goes (row ELO-03). On errors, what was written stays.
///
/// A success is said before the two sides take their leave, as the sender need not end its side.
pub(super) async fn receive(
    offer: &Offer,
    mut receiver: FileReceiver,
    path: PathBuf,
    mirror: bool,
    ended: oneshot::Sender<Result<(), ServeError>>,
) {
    let filled = fill(offer, &mut receiver, path, mirror).await;
    // In all three places: the daemon may have left, and then nobody wants to know.
    match filled {
        Ok(()) => {
            drop(ended.send(Ok(())));
            drop(receiver.finish().await);
        }
        Err(error) => {
            receiver.fail(&error.to_string()).await;
            drop(ended.send(Err(error)));
        }
    }
}

async fn fill(
    offer: &Offer,
    receiver: &mut FileReceiver,
    path: PathBuf,
    mirror: bool,
) -> Result<(), ServeError> {
    let destination = offer.run(move |_| Ok(Destination::open(&path)?)).await?;
    let mut transfer = Transfer::new(offer, destination);
    while !transfer.is_complete() {
        tokio::select! {
            received = receiver.next() => {
                let Some(received) = received? else {
                    let text = "the daemon ended the transfer before all data had come";
                    return Err(ServeError::Refused(text.to_owned()));
                };
                transfer.take(received).await?;
                transfer.request_more(receiver).await?;
            }
            written = transfer.written() => written?,
        }
        transfer.write();
    }
    transfer.finish(mirror).await
}

struct Transfer<'a> {
    offer: &'a Offer,
    destination: Arc<Destination>,
    /// The number of the next entry.
    next_id: u32,
    entries_ended: bool,
    /// Files whose data is wanted, in order.
    waiting: VecDeque<(u32, FileEntry)>,
    open: HashMap<u32, OpenFile>,
    /// What came and is not being written yet.
    batch: Batch,
    writing: Option<BoxFuture<'a, Result<(), ServeError>>>,
    directories: Vec<FileEntry>,
    /// Further names of files: new name, first name.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeSet<Vec<u8>>,
}

impl<'a> Transfer<'a> {
    fn new(offer: &'a Offer, destination: Destination) -> Self {
        Self {
            offer,
            destination: Arc::new(destination),
            next_id: 0,
            entries_ended: false,
            waiting: VecDeque::new(),
            open: HashMap::new(),
            batch: Batch::default(),
            writing: None,
            directories: Vec::new(),
            links: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    fn is_complete(&self) -> bool {
        self.entries_ended && self.open.is_empty() && self.waiting.is_empty()
    }

    async fn take(&mut self, received: Received) -> Result<(), ServeError> {
        match received {
            Received::Entry(entry) => self.entry(entry).await,
            Received::EntriesEnd => {
                self.entries_ended = true;
                Ok(())
            }
            Received::Data { id, data } => self.data(id, data).await,
            Received::FileEnd { id } => self.file_end(id).await,
        }
    }

    async fn entry(&mut self, entry: FileEntry) -> Result<(), ServeError> {
        let id = self.next_id;
        let too_many = || ServeError::Refused("too many entries".to_owned());
        self.next_id = id.checked_add(1).ok_or_else(too_many)?;
        self.names.insert(entry.path.clone());
        if let Some(first) = entry.hard_link {
            self.links.push((entry.path, first));
            return Ok(());
        }
        match entry.stat.kind {
            FileKind::File => self.waiting.push_back((id, entry)),
            FileKind::Directory => {
                self.batch.directory(entry.path.clone());
                self.directories.push(entry);
            }
            _ => self.batch.special(entry),
        }
        self.bound_batch().await
    }

    /// Starts writing the batch, unless one is being written.
    fn write(&mut self) {
        if self.writing.is_none() && !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            let destination = Arc::clone(&self.destination);
            let write = move |cancel: &_| batch.write(&destination, cancel);
            self.writing = Some(Box::pin(self.offer.run(write)));
        }
    }

    /// Waits for the batch that is being written; without one, for ever. May be dropped while it
    /// waits, and called again.
    async fn written(&mut self) -> Result<(), ServeError> {
        match &mut self.writing {
            Some(writing) => {
                let written = writing.await;
                self.writing = None;
                written
            }
            None => std::future::pending().await,
        }
    }

    /// Keeps the batch from growing while the one before it is being written.
    async fn bound_batch(&mut self) -> Result<(), ServeError> {
        if self.batch.is_full() && self.writing.is_some() {
            self.written().await?;
        }
        Ok(())
    }

    /// Waits until all that came is written.
    async fn settle(&mut self) -> Result<(), ServeError> {
        self.write();
        while self.writing.is_some() {
            self.written().await?;
            self.write();
        }
        Ok(())
    }

    /// Keeps so many files on their way that the daemon need not wait.
    async fn request_more(&mut self, receiver: &mut FileReceiver) -> Result<(), ServeError> {
        while self.open.len() < FILES_AT_ONCE {
            let Some((id, entry)) = self.waiting.pop_front() else {
                break;
            };
            receiver.request(id).await?;
            self.open.insert(id, OpenFile::new(entry));
        }
        Ok(())
    }

    async fn data(&mut self, id: u32, data: Bytes) -> Result<(), ServeError> {
        let file = self.open.get_mut(&id).ok_or_else(|| unknown(id))?;
        if !file.buffer(data) {
            return Ok(());
        }
        // Its directory has to be there.
        self.settle().await?;
        let mut file = self.open.remove(&id).ok_or_else(|| unknown(id))?;
        let destination = Arc::clone(&self.destination);
        let write = move |_: &_| {
            file.flush(&destination)?;
            Ok(file)
        };
        let file = self.offer.run(write).await?;
        self.open.insert(id, file);
        Ok(())
    }

    async fn file_end(&mut self, id: u32) -> Result<(), ServeError> {
        let file = self.open.remove(&id).ok_or_else(|| unknown(id))?;
        self.batch.file(file);
        self.bound_batch().await
    }

    /// Does what needs all data to be there. Directories get their modes and times last, deepest
    /// first.
    async fn finish(mut self, mirror: bool) -> Result<(), ServeError> {
        self.settle().await?;
        let (destination, links, names) = (self.destination, self.links, self.names);
        let directories = self.directories;
        self.offer
            .run(move |cancel| {
                for (path, first) in &links {
                    cancel.check()?;
                    destination.link(path, first)?;
                }
                if mirror {
                    destination.remove_others::<ServeError>(|path| names.contains(path), cancel)?;
                }
                for directory in directories.iter().rev() {
                    write::directory(directory, &destination)?;
                }
                Ok(())
            })
            .await
    }
}

fn unknown(id: u32) -> ServeError {
    ServeError::Refused(format!("data of file {id}, which was not asked for"))
}
