//! The data of files: shared if the file system can, else copied in the kernel, else read and
//! written ([`Ways`]).
//!
//! A large file is copied in [ranges](Range) that do not depend on each other, so that all threads can
//! take part. Holes stay holes. The cancel token is asked once per MiB.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use lamina_snapshotter::Entry;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::ways::KnownWays;
use super::ways::Ways;
use crate::FileOpError;

/// Bytes that one thread copies at a time.
const RANGE_BYTES: u64 = 16 << 20;

/// The size from which it is worth looking for holes.
const SPARSE_BYTES: u64 = 64 << 10;

/// Copies the data of files, and remembers which ways do not work here.
pub(crate) struct DataCopier<'a> {
    pub(crate) cancel: &'a CancelToken,
    known: KnownWays,
}

/// The data of one file under way.
pub(crate) struct Data {
    from: File,
    pub(crate) to: File,
    /// Where the copy is.
    path: RootedPath,
    /// Bytes to copy: what is shared already has none left.
    size: u64,
    has_holes: bool,
    ways: Arc<Ways>,
}

impl<'a> DataCopier<'a> {
    pub(crate) fn new(cancel: &'a CancelToken) -> Self {
        Self {
            cancel,
            known: KnownWays::default(),
        }
    }

    /// Starts to make the data of `to`, which is empty and at `path`, that of `source`.
    pub(crate) fn begin(
        &self,
        source: &Entry,
        to: File,
        path: RootedPath,
    ) -> Result<Data, FileOpError> {
        self.cancel.check()?;
        let mut data = Data {
            from: source.open()?,
            to,
            path,
            size: source.stat().size,
            has_holes: false,
            ways: self.known.from(source.origin().device),
        };
        if data.size == 0 || data.ways.share(&data.from, &data.to) {
            data.size = 0;
        } else if data.size >= SPARSE_BYTES {
            data.prepare().map_err(|error| data.failed(error))?;
        }
        Ok(data)
    }

    /// Copies one of the ranges.
    pub(crate) fn copy(&self, data: &Data, range: Range<u64>) -> Result<(), FileOpError> {
        let mut left = range;
        while !left.is_empty() {
            let run = match data.has_holes {
                true => next_run(&data.from, &left),
                false => Ok(left.clone()),
            };
            let run = run.map_err(|error| data.failed(error.into()))?;
            left.start = run.end;
            let copied = data.ways.copy(&data.from, &data.to, run, self.cancel);
            copied?.map_err(|error| data.failed(error))?;
        }
        Ok(())
    }
}

impl Data {
    /// Returns what is to be copied, in pieces that may be copied in any order.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> + use<> {
        let size = self.size;
        let count = usize::try_from(size.div_ceil(RANGE_BYTES)).unwrap_or(usize::MAX);
        (0..count).map(move |index| {
            let start = index as u64 * RANGE_BYTES;
            start..size.min(start + RANGE_BYTES)
        })
    }

    /// Finds out whether there are holes, and gives the copy its size.
    fn prepare(&mut self) -> io::Result<()> {
        let stat = rustix::fs::fstat(&self.from)?;
        let allocated = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        self.has_holes = allocated < self.size;
        self.to.set_len(self.size)
    }

    fn failed(&self, error: io::Error) -> FileOpError {
        let failed = Err::<(), _>(error).at(&self.path);
        FileOpError::Io {
            operation: "write",
            source: failed.expect_err("made as an error"),
        }
    }
}

/// Returns the first run of data in `range`; an empty one at its end if there is none.
fn next_run(file: &File, range: &Range<u64>) -> rustix::io::Result<Range<u64>> {
    let none = range.end..range.end;
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(none),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(range.clone()),
        Err(error) => return Err(error),
    };
    if start >= range.end {
        return Ok(none);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(start..end.min(range.end))
}
