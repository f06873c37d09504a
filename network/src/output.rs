//! What other programs print, kept in memory so that they never wait for us to read.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;

use rustix::fs::MemfdFlags;

/// Most bytes that are read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Makes a file to write to or read from.
pub(crate) fn file() -> io::Result<File> {
    let fd = rustix::fs::memfd_create(c"lamina-network", MemfdFlags::CLOEXEC)?;
    Ok(fd.into())
}

/// Returns what was written.
pub(crate) fn text(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
