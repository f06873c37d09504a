//! The data of files: shared if the file system can, else copied in the kernel, else read and
//! written.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::io::Errno;

use crate::FileOpError;

/// Bytes between two looks at the cancel token.
const STEP: usize = 1 << 20;

/// Copies the data of files, and remembers which ways do not work here.
pub(crate) struct DataCopier<'a> {
    cancel: &'a CancelToken,
    shares: AtomicBool,
}

impl<'a> DataCopier<'a> {
    pub(crate) fn new(cancel: &'a CancelToken) -> Self {
        Self {
            cancel,
            shares: AtomicBool::new(true),
        }
    }

    /// Makes the data of `to`, which is empty, that of `from`.
    pub(crate) fn copy(
        &self,
        from: &File,
        to: &File,
        path: &RootedPath,
    ) -> Result<(), FileOpError> {
        if self.share(from, to) {
            return Ok(());
        }
        let done = self.copy_in_kernel(from, to)?;
        let copied = match done {
            Ok(()) => return Ok(()),
            Err(error) if is_unsupported(error) => self.read_and_write(from, to)?,
            Err(error) => Err(error.into()),
        };
        copied.at(path).map_err(|source| FileOpError::Io {
            operation: "write",
            source,
        })
    }

    fn share(&self, from: &File, to: &File) -> bool {
        if !self.shares.load(Ordering::Relaxed) {
            return false;
        }
        let shared = rustix::fs::ioctl_ficlone(to, from);
        if shared.is_err() {
            self.shares.store(false, Ordering::Relaxed);
        }
        shared.is_ok()
    }

    /// The inner result is the kernel's, the outer one that of the token.
    fn copy_in_kernel(
        &self,
        from: &File,
        to: &File,
    ) -> Result<rustix::io::Result<()>, FileOpError> {
        loop {
            self.cancel.check()?;
            match rustix::fs::copy_file_range(from, None, to, None, STEP) {
                Ok(0) => return Ok(Ok(())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Goes on where the files' positions are.
    fn read_and_write(
        &self,
        mut from: &File,
        mut to: &File,
    ) -> Result<std::io::Result<()>, FileOpError> {
        let mut buffer = vec![0; STEP / 8];
        loop {
            self.cancel.check()?;
            let written = match from.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(length) => to.write_all(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                return Ok(Err(error));
            }
        }
    }
}

fn is_unsupported(error: Errno) -> bool {
    [
        Errno::NOSYS,
        Errno::XDEV,
        Errno::PERM,
        Errno::IO,
        Errno::OPNOTSUPP,
        Errno::INVAL,
    ]
    .contains(&error)
}
