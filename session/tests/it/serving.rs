//! Data that is read ahead of its sending (rows SVC-02, SVC-08).

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use lamina_session::AHEAD_BYTES;
use lamina_session::FileEntry;
use lamina_session::FilePiece;
use lamina_session::FileSender;
use lamina_session::FileSource;
use lamina_session::Received;
use lamina_session::SessionError;
use tonic::async_trait;

use crate::transfer::content;
use crate::transfer::file;
use crate::transfer::halves;
use crate::transfer::receive;
use crate::wait;

/// Files that are made up; remembers which were begun together.
struct MadeUp {
    entries: Vec<FileEntry>,
    begun: Mutex<Vec<Vec<u32>>>,
    unreadable: Option<u32>,
}

impl MadeUp {
    fn new(sizes: &[usize]) -> Self {
        let entry = |(at, size): (usize, &usize)| file(&format!("{at:04}"), *size);
        Self {
            entries: sizes.iter().enumerate().map(entry).collect(),
            begun: Mutex::default(),
            unreadable: None,
        }
    }

    fn piece(&self, (id, start): (u32, usize), room: usize) -> FilePiece<(u32, usize)> {
        let all = Bytes::from(content(id, self.size(id)));
        let end = all.len().min(start + room);
        let rest = (end == start + room).then_some((id, end));
        let data = all.slice(start..end);
        FilePiece { data, rest }
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.begun.lock().expect("not poisoned").clone()
    }

    fn bytes(&self, batch: &[u32]) -> u64 {
        batch.iter().map(|id| self.size(*id)).sum()
    }
}

#[async_trait]
impl FileSource for MadeUp {
    type Error = SessionError;
    type File = (u32, usize);

    fn size(&self, id: u32) -> u64 {
        self.entries[id as usize].stat.size
    }

    async fn begin(&self, ids: Vec<u32>) -> Result<Vec<FilePiece<Self::File>>, SessionError> {
        if self.unreadable.is_some_and(|id| ids.contains(&id)) {
            return Err(SessionError::Protocol("it cannot be read".to_owned()));
        }
        let first = |id: &u32| {
            let size = usize::try_from(self.size(*id)).expect("small");
            self.piece((*id, 0), AHEAD_BYTES.min(size + 1))
        };
        let pieces = ids.iter().map(first).collect();
        self.begun.lock().expect("not poisoned").push(ids);
        Ok(pieces)
    }

    async fn more(&self, file: Self::File) -> Result<FilePiece<Self::File>, SessionError> {
        Ok(self.piece(file, AHEAD_BYTES))
    }
}

async fn send(mut sender: FileSender, source: &MadeUp) -> Result<(), SessionError> {
    for entry in &source.entries {
        sender.entry(entry).await?;
    }
    sender.entries_end().await?;
    sender.serve(source).await?;
    sender.finish().await
}

#[test]
fn files_of_all_sizes_arrive_and_small_ones_are_read_together() {
    let mut sizes = vec![0, 1, AHEAD_BYTES - 1, AHEAD_BYTES, AHEAD_BYTES + 1, 0];
    sizes.push(3 * AHEAD_BYTES + 17);
    sizes.extend([40_000; 200]);
    sizes.extend([10; 500]);
    let source = MadeUp::new(&sizes);
    let (sender, receiver) = halves(4);
    let (sent, received) =
        wait(async { tokio::join!(send(sender, &source), receive(receiver, |_| true)) });
    sent.expect("sent");
    let (_, data) = received.expect("received");
    assert_eq!(data.len(), sizes.len());
    for (id, data) in data {
        assert!(data == content(id, source.size(id)), "file {id}");
    }
    let batches = source.batches();
    for batch in &batches {
        let fits = source.bytes(batch) <= AHEAD_BYTES as u64 || batch.len() == 1;
        assert!(fits && batch.len() <= 64, "{batch:?}");
    }
    assert!(
        batches.len() < sizes.len() / 10,
        "{} batches",
        batches.len()
    );
    assert!(batches.concat().is_sorted(), "in the order of requests");
}

/// A receiver that asks for everything and reads nothing must not fill the memory.
#[tokio::test(start_paused = true)]
async fn no_more_is_read_ahead_than_a_few_batches() {
    let source = MadeUp::new(&[100_000; 200]);
    let (sender, mut receiver) = halves(4);
    let asking = async {
        for id in 0..200 {
            receiver.next().await?;
            receiver.request(id).await?;
        }
        // The end of the entries, and as many packets as it takes to ask for all files.
        for _ in 0..6 {
            receiver.next().await?;
        }
        std::future::pending::<Result<(), SessionError>>().await
    };
    let both = async { tokio::join!(send(sender, &source), asking) };
    // The clock of the test moves on when nothing else does.
    let stalled = tokio::time::timeout(Duration::from_secs(1), both).await;
    assert!(stalled.is_err(), "nobody has read the data");
    let bytes = source.bytes(&source.batches().concat());
    assert!(bytes > 0, "something is read ahead");
    assert!(bytes <= 3 * AHEAD_BYTES as u64, "{bytes} bytes ahead");
}

#[test]
fn a_file_that_cannot_be_read_ends_the_transfer() {
    let mut source = MadeUp::new(&[10; 300]);
    source.unreadable = Some(200);
    let (mut sender, mut receiver) = halves(4);
    let error = wait(async {
        let sending = async {
            for entry in &source.entries {
                sender.entry(entry).await?;
            }
            sender.entries_end().await?;
            sender.serve(&source).await
        };
        let receiving = async {
            for id in 0..300 {
                receiver.next().await.expect("an entry");
                receiver.request(id).await.expect("it came");
            }
            let mut complete = 0;
            while let Ok(Some(received)) = receiver.next().await {
                complete += u32::from(matches!(received, Received::FileEnd { .. }));
            }
            complete
        };
        tokio::select! {
            sent = sending => sent.expect_err("it cannot be read"),
            complete = receiving => panic!("{complete} files came"),
        }
    });
    assert!(error.to_string().contains("it cannot be read"), "{error}");
}
