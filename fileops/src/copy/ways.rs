//! What the kernel can do between two file systems: found out by trying, and remembered.
//!
//! All copies of one action go to one file system, so the one that a file comes from names the pair.
//! Nothing is remembered longer than an action: another file system may get the same number.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lamina_types::CancelToken;
use lamina_types::Cancelled;
use rustix::io::Errno;

/// Bytes between two looks at the cancel token.
const STEP_BYTES: u64 = 1 << 20;

/// Room for copying through memory.
const BUFFER_BYTES: usize = 256 << 10;

/// The ways from each file system, by its device number.
#[derive(Default)]
pub(crate) struct KnownWays(RwLock<HashMap<u64, Arc<Ways>>>);

impl KnownWays {
    /// Returns the ways from the file system `device`.
    pub(crate) fn from(&self, device: u64) -> Arc<Ways> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ways) = known.get(&device) {
            return Arc::clone(ways);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(device).or_default())
    }
}

/// Which ways have not failed for good.
pub(crate) struct Ways {
    share: AtomicBool,
    copy_range: AtomicBool,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            share: AtomicBool::new(true),
            copy_range: AtomicBool::new(true),
        }
    }
}

impl Ways {
    /// Makes `to` share the blocks of `from`; says whether it could.
    pub(crate) fn share(&self, from: &File, to: &File) -> bool {
        if !self.share.load(Ordering::Relaxed) {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(error) => {
                self.share.fetch_and(!is_for_good(error), Ordering::Relaxed);
                false
            }
        }
    }

    /// Copies the bytes of `range`, or to the end of `from` if that comes first. The outer result is
    /// that of the token.
    pub(crate) fn copy(
        &self,
        from: &File,
        to: &File,
        mut range: Range<u64>,
        cancel: &CancelToken,
    ) -> Result<io::Result<()>, Cancelled> {
        while !range.is_empty() && self.copy_range.load(Ordering::Relaxed) {
            cancel.check()?;
            let (mut read, mut write) = (range.start, range.start);
            let step = bounded(range.end - range.start, STEP_BYTES);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut write), step) {
                Ok(0) => return Ok(Ok(())),
                Ok(_) => range.start = read,
                Err(Errno::INTR) => {}
                Err(error) if is_refusal(error) => {
                    self.copy_range
                        .fetch_and(!is_for_good(error), Ordering::Relaxed);
                    break;
                }
                Err(error) => return Ok(Err(error.into())),
            }
        }
        read_and_write(from, to, range, cancel)
    }
}

fn read_and_write(
    from: &File,
    to: &File,
    mut range: Range<u64>,
    cancel: &CancelToken,
) -> Result<io::Result<()>, Cancelled> {
    let mut buffer = vec![0; bounded(range.end - range.start, BUFFER_BYTES as u64)];
    while !range.is_empty() {
        cancel.check()?;
        let room = bounded(range.end - range.start, buffer.len() as u64);
        let length = match from.read_at(&mut buffer[..room], range.start) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = to.write_all_at(&buffer[..length], range.start) {
            return Ok(Err(error));
        }
        range.start += length as u64;
    }
    Ok(Ok(()))
}

fn bounded(length: u64, limit: u64) -> usize {
    usize::try_from(length.min(limit)).unwrap_or(usize::MAX)
}

/// Says whether no other file of the same file systems can do better.
fn is_for_good(error: Errno) -> bool {
    [Errno::NOSYS, Errno::XDEV, Errno::OPNOTSUPP, Errno::NOTTY].contains(&error)
}

/// Says whether the data may still be read and written.
fn is_refusal(error: Errno) -> bool {
    is_for_good(error) || [Errno::PERM, Errno::IO, Errno::INVAL].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_the_same_by_every_way() {
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|number| number.to_le_bytes()[0] ^ 0x5a)
            .collect();
        for copy_range in [true, false] {
            let (from, to) = (tempfile::tempfile(), tempfile::tempfile());
            let (from, to) = (from.expect("a file"), to.expect("a file"));
            from.write_all_at(&bytes, 0).expect("written");
            let ways = Ways::default();
            ways.copy_range.store(copy_range, Ordering::Relaxed);
            let cancel = CancelToken::new();
            // In any order.
            for range in [1_500_000..3_000_000, 0..1_500_000] {
                let copied = ways
                    .copy(&from, &to, range, &cancel)
                    .expect("not cancelled");
                copied.expect("copied");
            }
            let mut found = vec![0; bytes.len() + 1];
            assert_eq!(to.read_at(&mut found, 0).expect("read"), bytes.len());
            assert!(found[..bytes.len()] == bytes, "{copy_range}");
        }
    }

    #[test]
    fn what_a_file_system_cannot_is_tried_once() {
        let known = KnownWays::default();
        let (from, to) = (tempfile::tempfile(), tempfile::tempfile());
        let (from, to) = (from.expect("a file"), to.expect("a file"));
        known.from(7).share(&from, &to);
        let first = known.from(7).share.load(Ordering::Relaxed);
        // Whether it can or not, others are asked for themselves.
        assert!(known.from(8).share.load(Ordering::Relaxed));
        known.from(7).share.store(false, Ordering::Relaxed);
        assert!(!known.from(7).share(&from, &to), "{first}");
    }

    #[test]
    fn a_cancelled_copy_copies_nothing_more() {
        let (from, to) = (tempfile::tempfile(), tempfile::tempfile());
        let (from, to) = (from.expect("a file"), to.expect("a file"));
        from.set_len(10).expect("grows");
        let cancel = CancelToken::new();
        cancel.cancel();
        for copy_range in [true, false] {
            let ways = Ways::default();
            ways.copy_range.store(copy_range, Ordering::Relaxed);
            assert!(ways.copy(&from, &to, 0..10, &cancel).is_err());
        }
        assert_eq!(to.metadata().expect("described").len(), 0);
    }
}
