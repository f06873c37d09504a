//! Copying what one file holds to another.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::io::Result;

use super::stat_fd;

/// The most that is copied before the caller is asked whether to go on.
const COPY_STEP_BYTES: u64 = 64 << 20;

/// Room for copying through memory.
const BUFFER_BYTES: usize = 256 << 10;

/// Copies all data of one regular file into another, empty one: by sharing blocks where the file
/// system can, else inside the kernel, else through memory. Holes stay holes.
pub(crate) fn copy_data(from: &File, to: &File) -> std::io::Result<()> {
    copy_data_while(from, to, &|| Ok(()))
}

/// As [`copy_data`], asking `go_on` every now and then; its error ends the copy.
pub(crate) fn copy_data_while(
    from: &File,
    to: &File,
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let stat = stat_fd(from)?;
    let size = stat.size();
    if stat.allocated_bytes() >= size {
        return copy_range(from, to, (0, size), go_on);
    }
    let mut offset = 0;
    while let Some(extent) = next_extent(from, offset, size)? {
        copy_range(from, to, extent, go_on)?;
        offset = extent.1;
    }
    to.set_len(size)
}

/// Returns where the next data at or after `offset` starts and ends; `None` if only a hole is left.
fn next_extent(file: &File, offset: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => return Ok(Some((offset, size))),
        Err(error) => return Err(error),
    };
    Ok(Some((
        start,
        rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size),
    )))
}

/// Copies the bytes from `start` to `end`, or to the end of the file if that comes first.
fn copy_range(
    from: &File,
    to: &File,
    (start, end): (u64, u64),
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from((end - read).min(COPY_STEP_BYTES)).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length);
        match copied {
            Ok(0) => break,
            Ok(_) => go_on()?,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_through_memory(from, to, (read, end), go_on);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(
    from: &File,
    to: &File,
    (mut offset, end): (u64, u64),
    go_on: &dyn Fn() -> Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while offset < end {
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let room = buffer.len().min(wanted);
        let length = from.read_at(&mut buffer[..room], offset)?;
        if length == 0 {
            break;
        }
        to.write_all_at(&buffer[..length], offset)?;
        offset += length as u64;
        go_on()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn copies_keep_data_and_holes() {
        const MIB: u64 = 1 << 20;
        for (pieces, size) in [
            (vec![], 0),
            (vec![0], 3),
            (vec![], 5 * MIB),
            (vec![2 * MIB], 9 * MIB),
            (vec![0, 4 * MIB], 4 * MIB + 3),
        ] {
            let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            for &piece in &pieces {
                rustix::fs::seek(&from, SeekFrom::Start(piece)).unwrap();
                (&from).write_all(b"abc").unwrap();
            }
            from.set_len(size).unwrap();
            copy_data(&from, &to).unwrap();
            let (before, after) = (stat_fd(&from).unwrap(), stat_fd(&to).unwrap());
            assert_eq!(after.size(), size, "{pieces:?}");
            assert_eq!(
                after.allocated_bytes(),
                before.allocated_bytes(),
                "{pieces:?}"
            );
            for &piece in &pieces {
                let mut data = [0; 3];
                std::os::unix::fs::FileExt::read_exact_at(&to, &mut data, piece).unwrap();
                assert_eq!(&data, b"abc", "{pieces:?}");
            }
        }
    }

    #[test]
    fn a_copy_ends_when_nobody_wants_it() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(1).unwrap();
        (&from).write_all(b"abc").unwrap();
        let stopped = copy_data_while(&from, &to, &|| Err(Errno::INTR));
        let reason = stopped.map_err(|error| error.raw_os_error());
        assert!(
            matches!(reason, Ok(()) | Err(Some(libc::EINTR))),
            "{reason:?}"
        );
    }
}
