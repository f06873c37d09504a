//! Reading ahead: a thread that undoes a compression while others use what it gave.

use std::io;
use std::io::Read;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;

/// Bytes that are handed over at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that wait for the reader: bounds the memory.
const BLOCKS: usize = 16;

type Block = io::Result<Vec<u8>>;

/// Calls `user` with a reader of what `open` opens, which another thread opens and reads meanwhile.
///
/// That thread ends with its input, or soon after `user` returned. Where no thread can be had, `user`
/// reads the input itself.
pub(crate) fn read_ahead<R: Read, T>(
    open: impl Fn() -> io::Result<R> + Send + Sync,
    user: impl FnOnce(&mut dyn Read) -> T,
) -> io::Result<T> {
    let (sender, blocks) = sync_channel(BLOCKS);
    let open = &open;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lamina-decode".to_owned());
        match thread.spawn_scoped(scope, move || hand_over(open(), &sender)) {
            Ok(_) => Ok(user(&mut Blocks::new(blocks))),
            Err(_) => Ok(user(&mut open()?)),
        }
    })
}

/// Ends with the input, its first error, or the user.
fn hand_over(input: io::Result<impl Read>, blocks: &SyncSender<Block>) {
    let mut input = match input {
        Ok(input) => input,
        Err(error) => return drop(blocks.send(Err(error))),
    };
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let read = (&mut input)
            .take(BLOCK_BYTES as u64)
            .read_to_end(&mut block);
        let last = !matches!(read, Ok(count) if count > 0);
        // What was read before an error still counts.
        let sent = blocks.send(Ok(block));
        if let Err(error) = read {
            drop(blocks.send(Err(error)));
        }
        if last || sent.is_err() {
            return;
        }
    }
}

/// The blocks as one stream.
struct Blocks {
    blocks: Receiver<Block>,
    block: Vec<u8>,
    at: usize,
}

impl Blocks {
    fn new(blocks: Receiver<Block>) -> Self {
        Self {
            blocks,
            block: Vec::new(),
            at: 0,
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            let Ok(block) = self.blocks.recv() else {
                return Ok(0);
            };
            (self.block, self.at) = (block?, 0);
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
