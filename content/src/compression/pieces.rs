//! Undoing a compression on all cores, where the stream is made of pieces that stand alone.
//!
//! ```text
//! input -> window | piece piece piece | piece ..    cut behind the last whole piece
//!                   \_____ batch _____/
//!                     a thread each     -> blocks, in order
//! ```
//! A batch is some pieces, of a MiB or more together. What becomes of it is not known before: a thread gives
//! up at [`BLOCK_BYTES`] and hands the batch back, which the reader then decodes as it reads. A stream
//! without an end of a piece in sight ([`WINDOW_BYTES`]) is decoded that way to its end. So the memory is
//! bounded, and errors are those of the plain decoder.

use std::collections::VecDeque;
use std::io;
use std::io::BufRead;
use std::io::Cursor;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::sync_channel;

/// Compressed bytes that make a batch worth a thread.
const BATCH_BYTES: usize = 1 << 20;
/// Compressed bytes that are looked through for the end of a piece.
const WINDOW_BYTES: usize = 16 << 20;
/// Bytes that a batch may become in a thread.
const BLOCK_BYTES: usize = 32 << 20;
/// Threads at work: with the other bounds, the most memory that a stream can ask for is some 300 MiB.
const MOST_THREADS: usize = 6;

/// What is compressed.
pub(super) type Input<'a> = Box<dyn BufRead + 'a>;
/// What it holds.
pub(super) type Output<'a> = Box<dyn Read + 'a>;

/// How a format is cut, and decoded.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Returns how long the whole pieces are with which the bytes begin; 0 if there is none.
    pub(super) whole: fn(&[u8]) -> usize,
    /// Returns what pieces hold, one behind the other.
    pub(super) decode: for<'a> fn(Input<'a>) -> io::Result<Output<'a>>,
}

/// What a thread made of a batch.
enum Decoded {
    Block(Vec<u8>),
    /// It would be too large: the batch itself.
    Large(Vec<u8>),
    Failed(io::Error),
}

/// Reads what `input` holds.
pub(super) struct Pieces<'a> {
    format: Format,
    /// `None` once a decoder has it, or at its end.
    input: Option<Input<'a>>,
    /// What was read of the input and not cut yet.
    window: Vec<u8>,
    /// Batches under way, oldest first.
    pending: VecDeque<Receiver<Decoded>>,
    limit: usize,
    /// No end of a piece is in sight: what is left is decoded as it is read.
    uncut: bool,
    current: Output<'a>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(input: Input<'a>, format: Format) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            format,
            input: Some(input),
            window: Vec::new(),
            pending: VecDeque::new(),
            limit: threads.min(MOST_THREADS),
            uncut: false,
            current: Box::new(io::empty()),
        }
    }

    /// Starts batches while threads are free and pieces can be cut.
    fn start_batches(&mut self) -> io::Result<()> {
        while self.pending.len() < self.limit && !self.uncut && self.input.is_some() {
            let at_end = self.fill_window()?;
            let cut = match at_end {
                true => self.window.len(),
                false => (self.format.whole)(&self.window),
            };
            if at_end {
                self.input = None;
            }
            if cut > 0 {
                let rest = self.window.split_off(cut);
                let batch = std::mem::replace(&mut self.window, rest);
                self.pending.push_back(start(self.format, batch));
            }
            self.uncut = self.window.len() >= WINDOW_BYTES;
        }
        Ok(())
    }

    /// Reads a batch more; says whether that was the end of the input.
    fn fill_window(&mut self) -> io::Result<bool> {
        let Some(input) = &mut self.input else {
            return Ok(true);
        };
        let wanted = BATCH_BYTES as u64;
        let read = input.take(wanted).read_to_end(&mut self.window)?;
        Ok((read as u64) < wanted)
    }

    /// Sets up what is read next; says whether there is anything.
    fn advance(&mut self) -> io::Result<bool> {
        self.start_batches()?;
        let Some(oldest) = self.pending.pop_front() else {
            return self.decode_the_rest();
        };
        let decoded = oldest.recv().map_err(|_| lost())?;
        self.current = match decoded {
            Decoded::Block(block) => Box::new(Cursor::new(block)),
            Decoded::Large(batch) => (self.format.decode)(Box::new(Cursor::new(batch)))?,
            Decoded::Failed(error) => return Err(error),
        };
        Ok(true)
    }

    /// Decodes a stream whose pieces are too long to be cut.
    fn decode_the_rest(&mut self) -> io::Result<bool> {
        let Some(input) = self.input.take() else {
            return Ok(false);
        };
        let begin = Cursor::new(std::mem::take(&mut self.window));
        self.current = (self.format.decode)(Box::new(begin.chain(input)))?;
        Ok(true)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() || !self.advance()? {
                return Ok(count);
            }
        }
    }
}

/// Decodes a batch in a thread of its own, or here if there is none to be had.
fn start(format: Format, batch: Vec<u8>) -> Receiver<Decoded> {
    let (sender, receiver) = sync_channel(1);
    let batch = Arc::new(batch);
    let (answer, shared) = (sender.clone(), Arc::clone(&batch));
    let work = move || {
        let decoded = decode(format, &shared);
        let batch = || Arc::unwrap_or_clone(shared);
        // Nobody waits any more if the stream was given up.
        drop(answer.send(decoded.unwrap_or_else(|| Decoded::Large(batch()))));
    };
    let name = "lamina-decode".to_owned();
    let started = std::thread::Builder::new().name(name).spawn(work);
    if started.is_err() {
        let batch = Arc::unwrap_or_clone(batch);
        drop(sender.send(Decoded::Large(batch)));
    }
    receiver
}

/// Returns what becomes of a batch; `None` if it is too large.
fn decode(format: Format, batch: &[u8]) -> Option<Decoded> {
    let mut block = Vec::new();
    let limit = BLOCK_BYTES as u64 + 1;
    let read = (format.decode)(Box::new(batch))
        .and_then(|reader| reader.take(limit).read_to_end(&mut block));
    match read {
        Ok(_) if block.len() > BLOCK_BYTES => None,
        Ok(_) => Some(Decoded::Block(block)),
        // What comes before the damage must be read first, as from the plain decoder.
        Err(_) if !block.is_empty() => None,
        Err(error) => Some(Decoded::Failed(error)),
    }
}

fn lost() -> io::Error {
    io::Error::other("a decoding thread was lost")
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// How many batches are being decoded.
    static AT_WORK: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

    /// Waits until another batch is decoded too, or much too long.
    fn meet(input: Input<'_>) -> io::Result<Output<'_>> {
        let (count, changed) = &AT_WORK;
        let mut count = count.lock().expect("unpoisoned");
        *count += 1;
        changed.notify_all();
        let patience = Duration::from_secs(60);
        let met = changed.wait_timeout_while(count, patience, |count| *count < 2);
        assert!(!met.expect("unpoisoned").1.timed_out(), "alone");
        Ok(input)
    }

    #[test]
    fn batches_are_decoded_at_the_same_time() {
        let data: Vec<u8> = (0..4 * BATCH_BYTES).map(|at| (at % 251) as u8).collect();
        let format = Format {
            whole: <[u8]>::len,
            decode: meet,
        };
        let mut pieces = Pieces::new(Box::new(&data[..]), format);
        // Also on a machine with one core.
        pieces.limit = 2;
        let mut found = Vec::new();
        pieces.read_to_end(&mut found).expect("decoded");
        assert!(found == data);
    }
}
