//! The half of a transfer that talks to the client.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lamina_session::FileEntry;
use lamina_session::FileReceiver;
use lamina_session::Received;
use lamina_session::SessionError;
use lamina_types::Cancelled;
use lamina_types::FileKind;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use super::super::index::IndexEntry;
use super::compare;
use super::compare::Known;
use super::writer::Task;
use crate::SourceError;

/// Files that are on their way at the same time: the writer has each open, so this is far less than
/// the receiver would allow.
const OPEN_FILES: usize = 64;

/// Bytes of data between the client and the layer.
const DATA_BUDGET: usize = 8 << 20;

/// Receives entries and data, requests what is new, and tells the writer.
pub(super) struct Pump {
    receiver: FileReceiver,
    known: Known,
    /// Everything so far is as it was the last time.
    unchanged: bool,
    /// Of the entries so far, while nothing has changed: which are hard links, and to what.
    hard_links: HashMap<usize, Vec<u8>>,
    tasks: mpsc::Sender<Task>,
    budget: Arc<Semaphore>,
    /// Number of the next entry.
    next_id: u32,
    /// Files that are wanted and not asked for yet.
    waiting: VecDeque<u32>,
    /// How many were asked for and are not complete; the receiver knows which.
    open: usize,
    ended: bool,
}

impl Pump {
    /// `known` are the entries of the last transfer, if there was one.
    pub(super) fn new(
        receiver: FileReceiver,
        known: Option<Vec<IndexEntry>>,
        tasks: mpsc::Sender<Task>,
    ) -> Self {
        Self {
            receiver,
            unchanged: known.is_some(),
            known: Known::new(known.unwrap_or_default()),
            hard_links: HashMap::new(),
            tasks,
            budget: Arc::new(Semaphore::new(DATA_BUDGET)),
            next_id: 0,
            waiting: VecDeque::new(),
            open: 0,
            ended: false,
        }
    }

    /// Runs until the client has sent all that is wanted.
    pub(super) async fn run(mut self) -> Result<(), SourceError> {
        while !self.is_complete() {
            match self.receiver.next().await? {
                Some(received) => self.take(received).await?,
                None => return Err(broken("it ended before everything was there")),
            }
        }
        Ok(self.receiver.finish().await?)
    }

    fn is_complete(&self) -> bool {
        self.ended && self.open == 0 && self.waiting.is_empty()
    }

    /// What comes makes sense: the receiver refuses entries after their end and data that was not
    /// asked for.
    async fn take(&mut self, received: Received) -> Result<(), SourceError> {
        match received {
            Received::Entry(entry) => self.entry(entry).await,
            Received::EntriesEnd => {
                self.ended = true;
                match self.unchanged && !self.known.is_at_end() {
                    true => self.diverge(self.known.passed().len()).await,
                    false => Ok(()),
                }
            }
            Received::Data { id, data } => self.data(id, data).await,
            Received::FileEnd { id } => {
                self.open = self.open.saturating_sub(1);
                self.tell(Task::End { id }).await?;
                self.request_more().await
            }
        }
    }

    async fn entry(&mut self, sent: FileEntry) -> Result<(), SourceError> {
        let id = self.next_id;
        // The receiver counts too, and refuses more entries than there are numbers.
        self.next_id = id.saturating_add(1);
        let entry = compare::host_entry(&sent);
        let before = self.known.passed().len();
        let verdict = self.known.compare(&entry);
        if self.unchanged {
            if verdict.same && verdict.adjacent {
                self.hard_links
                    .extend(sent.hard_link.map(|first| (before, first)));
                return Ok(());
            }
            self.diverge(before).await?;
        }
        if verdict.same {
            let hard_link = sent.hard_link;
            return self.tell(Task::Keep { entry, hard_link }).await;
        }
        let file = entry.kind() == FileKind::File && sent.hard_link.is_none();
        let wanted = file && entry.fingerprint.size > 0;
        self.tell(Task::Make { id, entry, sent }).await?;
        if wanted {
            self.waiting.push_back(id);
        }
        self.request_more().await
    }

    /// Starts the writer, with the first `count` entries as they were.
    async fn diverge(&mut self, count: usize) -> Result<(), SourceError> {
        self.unchanged = false;
        self.tell(Task::Begin).await?;
        for at in 0..count {
            let entry = self.known.passed()[at].entry.clone();
            let hard_link = self.hard_links.remove(&at);
            self.tell(Task::Keep { entry, hard_link }).await?;
        }
        Ok(())
    }

    async fn data(&mut self, id: u32, data: Bytes) -> Result<(), SourceError> {
        let size = u32::try_from(data.len().min(DATA_BUDGET)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget).acquire_many_owned(size).await;
        let held = budget.map_err(|_| Cancelled)?;
        self.tell(Task::Data { id, data, held }).await
    }

    async fn request_more(&mut self) -> Result<(), SourceError> {
        while self.open < OPEN_FILES
            && let Some(id) = self.waiting.pop_front()
        {
            self.receiver.request(id).await?;
            self.open += 1;
        }
        Ok(())
    }

    /// The writer only goes away with an error of its own, which is then the result.
    async fn tell(&mut self, task: Task) -> Result<(), SourceError> {
        Ok(self.tasks.send(task).await.map_err(|_| Cancelled)?)
    }
}

fn broken(reason: &str) -> SourceError {
    SessionError::Protocol(reason.to_owned()).into()
}
