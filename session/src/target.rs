//! Where exporters put their results on a client in this process.
//!
//! A file appears under its name only when it is complete: until then it is a temporary file
//! beside it, which goes away with the target that was not finished.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufWriter;
use std::io::Stdout;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::IoContext;

use crate::SessionError;

/// How many names for a temporary file are tried; more can only be taken by mischief.
const NAME_ATTEMPTS: u32 = 100;

/// A place that an exporter writes one archive to.
///
/// Dropping it without [`finish`](Self::finish) discards what was written, as far as the place
/// allows: a file never shows, standard output keeps what it got.
pub trait FileTarget: Write + Send {
    /// Makes what was written durable and visible under its name.
    ///
    /// # Errors
    /// If it cannot be flushed or renamed; nothing shows then.
    fn finish(self: Box<Self>) -> Result<(), SessionError>;
}

/// What the client wants from the exporter with some index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(PathBuf),
    StandardOutput,
    Directory(PathBuf),
}

impl Target {
    pub(crate) const fn describe(&self) -> &'static str {
        match self {
            Self::File(_) => "a file",
            Self::StandardOutput => "standard output",
            Self::Directory(_) => "a directory",
        }
    }
}

/// Opens a file target: in place for devices and pipes, else through a temporary file.
pub(crate) fn open_file(path: &Path) -> Result<Box<dyn FileTarget>, SessionError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(io::Error::from(io::ErrorKind::IsADirectory)).at(path.display())?
        }
        Ok(found) if !found.is_file() => {
            let file = OpenOptions::new()
                .write(true)
                .open(path)
                .at(path.display())?;
            Ok(Box::new(InPlace {
                file,
                path: path.to_owned(),
            }))
        }
        _ => Ok(Box::new(AtomicFile::create(path)?)),
    }
}

pub(crate) fn standard_output() -> Box<dyn FileTarget> {
    Box::new(StandardOutput(io::stdout()))
}

/// Makes a directory target with its parents.
pub(crate) fn make_directory(path: &Path) -> Result<PathBuf, SessionError> {
    fs::create_dir_all(path).at(path.display())?;
    Ok(path.to_owned())
}

/// A regular file that replaces `path` when finished.
struct AtomicFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl AtomicFile {
    /// Follows a symlink at `path`, as opening it for writing would.
    fn create(path: &Path) -> Result<Self, SessionError> {
        let path = follow(path);
        let (file, temporary) = create_beside(&path).at(path.display())?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            temporary,
            path,
            finished: false,
        })
    }

    fn persist(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

/// Returns what a chain of symlinks at `path` names; loops are left for the kernel to refuse.
fn follow(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => break,
        }
    }
    path
}

fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    for attempt in 0..NAME_ATTEMPTS {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{attempt}.partial", std::process::id()));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
        {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Write for AtomicFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileTarget for AtomicFile {
    fn finish(mut self: Box<Self>) -> Result<(), SessionError> {
        self.persist().at(self.path.display())?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about it, and an error is being reported already.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// A device or a pipe, which cannot be replaced by a rename.
struct InPlace {
    file: File,
    path: PathBuf,
}

impl Write for InPlace {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileTarget for InPlace {
    fn finish(mut self: Box<Self>) -> Result<(), SessionError> {
        Ok(self.file.flush().at(self.path.display())?)
    }
}

struct StandardOutput(Stdout);

impl Write for StandardOutput {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl FileTarget for StandardOutput {
    fn finish(mut self: Box<Self>) -> Result<(), SessionError> {
        Ok(self.0.flush().at("standard output")?)
    }
}
