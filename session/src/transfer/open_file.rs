//! Files that are sent piece by piece.

use std::fs::File;
use std::io::Read as _;

use lamina_types::IoContext as _;
use lamina_types::PathError;

use super::AHEAD_BYTES;
use super::FilePiece;

/// A file of which more is to be read, on a thread that may wait.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    shown: String,
}

impl OpenFile {
    /// Takes a file that nothing was read of; `shown` is what errors call it.
    #[must_use]
    pub const fn new(file: File, shown: String) -> Self {
        Self { file, shown }
    }

    /// Reads the first piece of a file of `size_bytes`, which may have changed: one byte more than
    /// there should be, so that the end is seen, and no more than [`AHEAD_BYTES`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn first(self, size_bytes: u64) -> Result<FilePiece<Self>, PathError> {
        self.read(size_bytes.saturating_add(1))
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn next(self) -> Result<FilePiece<Self>, PathError> {
        self.read(u64::MAX)
    }

    fn read(self, room: u64) -> Result<FilePiece<Self>, PathError> {
        let Self { file, shown } = self;
        let room = usize::try_from(room).map_or(AHEAD_BYTES, |room| room.min(AHEAD_BYTES));
        let mut data = Vec::with_capacity(room);
        let mut limited = file.take(room as u64);
        limited.read_to_end(&mut data).at(&shown)?;
        let (file, is_full) = (limited.into_inner(), data.len() == room);
        let rest = is_full.then_some(Self { file, shown });
        let data = data.into();
        Ok(FilePiece { data, rest })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;
    use std::io::Write as _;

    use super::*;

    /// A file that holds `len` bytes.
    fn file(len: usize) -> OpenFile {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![b'x'; len]).expect("writes");
        file.rewind().expect("rewinds");
        OpenFile::new(file, "name".to_owned())
    }

    #[test]
    fn the_end_is_seen_with_the_first_piece() {
        for len in [0, 1, AHEAD_BYTES - 1] {
            let piece = file(len).first(len as u64).expect("reads");
            assert_eq!(piece.data.len(), len);
            assert!(piece.rest.is_none(), "{len}");
        }
    }

    /// Files change while they are sent: all that is there goes out.
    #[test]
    fn sizes_need_not_be_true() {
        for (len, stated) in [
            (5, 0),
            (AHEAD_BYTES, 0),
            (5, u64::MAX),
            (3 * AHEAD_BYTES, 7),
        ] {
            let (mut sent, mut piece) = (0, file(len).first(stated).expect("reads"));
            loop {
                assert!(piece.data.len() <= AHEAD_BYTES);
                sent += piece.data.len();
                let Some(rest) = piece.rest else { break };
                piece = rest.next().expect("reads");
            }
            assert_eq!(sent, len, "{stated}");
        }
    }
}
