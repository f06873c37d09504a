//! Compressing a stream in blocks on all cores.
//!
//! ```text
//! write -> block | block | block ...    fixed size, whatever the number of threads
//!            |       |       |          one rayon task each
//!          member  member  member  -> out, in order
//! ```
//! Members (gzip) and frames (zstd) may be concatenated by their formats' own rules; every reader
//! of images takes them. The output depends on the input and the level alone (row CMP-05).

use std::collections::VecDeque;
use std::io;
use std::io::Write;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::TryRecvError;
use std::sync::mpsc::sync_channel;

use libdeflater::CompressionLvl;
use libdeflater::Compressor;

use crate::Compression;

/// Large against deflate's window of 32 KiB, so the loss is below one in a hundred.
const GZIP_BLOCK: usize = 1 << 20;
/// Larger, because zstd's window at the usual levels is 2 MiB and more.
const ZSTD_BLOCK: usize = 4 << 20;

/// Compresses what is written to it into `W`.
pub(crate) struct BlockCompressor<W> {
    out: W,
    compression: Compression,
    block: Vec<u8>,
    block_size: usize,
    /// Blocks that are being compressed, oldest first.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// How many of them there may be: bounds the memory.
    limit: usize,
}

impl<W: Write> BlockCompressor<W> {
    /// Starts a stream.
    pub(crate) fn new(out: W, compression: Compression) -> Self {
        let block_size = match compression {
            Compression::Zstd(_) => ZSTD_BLOCK,
            _ => GZIP_BLOCK,
        };
        Self {
            out,
            compression,
            block: Vec::new(),
            block_size,
            pending: VecDeque::new(),
            limit: rayon::current_num_threads() + 1,
        }
    }

    /// Writes what is pending and gives the output back.
    ///
    /// # Errors
    /// If a block cannot be compressed or the output fails.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.start_block();
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        Ok(self.out)
    }

    fn start_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let compression = self.compression;
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // The receiver is gone if the stream was given up.
            drop(sender.send(compress(&block, compression)));
        });
        self.pending.push_back(receiver);
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        match self.pending.pop_front() {
            Some(receiver) => self.out.write_all(&wait(&receiver)?),
            None => Ok(()),
        }
    }
}

impl<W: Write> Write for BlockCompressor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.compression == Compression::Uncompressed {
            return self.out.write(data);
        }
        let count = data.len().min(self.block_size - self.block.len());
        self.block.extend_from_slice(&data[..count]);
        if self.block.len() == self.block_size {
            self.start_block();
            if self.pending.len() > self.limit {
                self.write_oldest()?;
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Waits for a block; a thread of the pool helps meanwhile, so one thread is enough.
fn wait(receiver: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    loop {
        match receiver.try_recv() {
            Ok(block) => return block,
            Err(TryRecvError::Disconnected) => return Err(lost()),
            Err(TryRecvError::Empty) => {}
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            return receiver.recv().map_err(|_| lost())?;
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("a compression task was lost")
}

fn compress(block: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::Uncompressed => Ok(block.to_vec()),
        Compression::Zstd(level) => zstd::bulk::compress(block, level),
        Compression::Gzip(level) => {
            let level = i32::try_from(level.min(9)).unwrap_or(9);
            let level = CompressionLvl::new(level).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut compressor = Compressor::new(level);
            let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
            let length = compressor
                .gzip_compress(block, &mut member)
                .map_err(|_| io::Error::other("gzip output exceeds its bound"))?;
            member.truncate(length);
            Ok(member)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::decoder;
    use super::*;

    /// Text that compresses, from a seed.
    fn sample(length: usize, mut seed: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(length);
        while data.len() < length {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            data.extend_from_slice(format!("{:x} word ", seed >> 40).as_bytes());
        }
        data.truncate(length);
        data
    }

    fn compressed(data: &[u8], compression: Compression, threads: usize) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads start").install(|| {
            let mut stream = BlockCompressor::new(Vec::new(), compression);
            for piece in data.chunks(70_001) {
                stream.write_all(piece).expect("compresses");
            }
            stream.finish().expect("finishes")
        })
    }

    #[test]
    fn bytes_do_not_depend_on_threads_and_round_trip() {
        for length in [1, GZIP_BLOCK, GZIP_BLOCK + 1, 9_000_001] {
            let data = sample(length, 7);
            for compression in [
                Compression::Uncompressed,
                Compression::Gzip(0),
                Compression::Gzip(6),
                Compression::Gzip(9),
                Compression::Zstd(1),
                Compression::Zstd(3),
            ] {
                let one = compressed(&data, compression, 1);
                assert_eq!(one, compressed(&data, compression, 5), "{compression:?}");
                let mut again = Vec::new();
                let reader = std::io::BufReader::new(&one[..]);
                decoder(reader)
                    .and_then(|mut reader| reader.read_to_end(&mut again))
                    .expect("decodes");
                assert_eq!(again, data, "{compression:?}");
            }
        }
    }
}
