//! What is built: the context, the Dockerfile and further named contexts, as the user gives them.
//!
//! All of them become local directories, OCI layouts, references or addresses, and options of the
//! frontend (rows FDF-01, FDF-02, FDF-22, FDF-23).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::Digest;
use lamina_types::IoContext as _;
use lamina_types::PathError;
use tempfile::TempDir;

use crate::layout;
use crate::layout::LayoutError;
use crate::layout::LayoutReference;

/// A Dockerfile or a tar on standard input may not be larger than this.
const MAX_STDIN_BYTES: u64 = 8 << 30;

/// Says why the user's files cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("{0:?}: not a directory; the context is a directory, or - for standard input")]
    NotADirectory(String),
    #[error("{0:?}: nothing can be read from there; give a directory")]
    Remote(String),
    #[error("standard input cannot be both the context and the Dockerfile")]
    StdinTwice,
    #[error("standard input is empty: expected a Dockerfile or a tar archive")]
    EmptyStdin,
    #[error(
        "--build-context {0:?}: expected NAME=DIR, NAME=oci-layout://DIR, NAME=docker-image://REF \
         or NAME=URL"
    )]
    BadNamedContext(String),
    #[error("--local {0:?}: expected NAME=DIR")]
    BadLocal(String),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Everything that a build reads from the user's side.
#[derive(Default)]
pub(crate) struct Context {
    /// Directories by the name of their local source.
    pub(crate) locals: BTreeMap<String, PathBuf>,
    /// OCI layouts by store name.
    pub(crate) layouts: BTreeMap<String, PathBuf>,
    /// Options for the frontend.
    pub(crate) options: BTreeMap<String, String>,
    /// Holds what came on standard input; removed with the value.
    scratch: Vec<TempDir>,
}

impl Context {
    /// Finds the context and the Dockerfile.
    pub(crate) fn open(context: &str, file: Option<&str>) -> Result<Self, ContextError> {
        let mut found = Self::default();
        if is_address(context) {
            found.set_remote(context, file)?;
            return Ok(found);
        }
        let directory = match (context, file) {
            ("-", Some("-")) => return Err(ContextError::StdinTwice),
            ("-", _) => found.read_stdin(&mut io::stdin().lock())?,
            _ => existing_directory(context)?,
        };
        found.locals.insert("context".to_owned(), directory.clone());
        found.set_dockerfile(&directory, file, context == "-")?;
        Ok(found)
    }

    /// Leaves the context to the engine. The Dockerfile is in it, unless it comes on standard input
    /// or has an absolute path.
    fn set_remote(&mut self, context: &str, file: Option<&str>) -> Result<(), ContextError> {
        self.options
            .insert("context".to_owned(), context.to_owned());
        match file {
            None => {}
            Some(file) if file == "-" || file.starts_with('/') => {
                let key = "dockerfilekey".to_owned();
                self.options.insert(key, "dockerfile".to_owned());
                // No directory of this host is the context.
                self.set_dockerfile(Path::new("-"), Some(file), false)?;
            }
            Some(file) => {
                self.options.insert("filename".to_owned(), file.to_owned());
            }
        }
        Ok(())
    }

    /// Takes `NAME=DIR` texts as local sources, for definitions that come without a Dockerfile.
    pub(crate) fn of_locals(texts: &[String]) -> Result<Self, ContextError> {
        let mut found = Self::default();
        for text in texts {
            let (name, dir) = text
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| ContextError::BadLocal(text.clone()))?;
            found
                .locals
                .insert(name.to_owned(), existing_directory(dir)?);
        }
        Ok(found)
    }

    /// Chooses the directory that the Dockerfile is read from, which need not be the context.
    fn set_dockerfile(
        &mut self,
        context: &Path,
        file: Option<&str>,
        inside_context: bool,
    ) -> Result<(), ContextError> {
        let (directory, name) = match file {
            None => (context.to_owned(), None),
            Some("-") => {
                let scratch = self.scratch()?;
                let path = scratch.join("Dockerfile");
                let mut target = fs::File::create_new(&path).at(path.display())?;
                io::copy(&mut io::stdin().lock().take(MAX_STDIN_BYTES), &mut target)
                    .at("standard input")?;
                (scratch, None)
            }
            Some(file) if inside_context => (context.to_owned(), Some(file.to_owned())),
            Some(file) => split_file(context, file)?,
        };
        if let Some(name) = name {
            self.options.insert("filename".to_owned(), name);
        }
        self.locals.insert("dockerfile".to_owned(), directory);
        Ok(())
    }

    fn scratch(&mut self) -> Result<PathBuf, ContextError> {
        let directory = tempfile::Builder::new()
            .prefix("lamina-context-")
            .tempdir()
            .at(std::env::temp_dir().display())?;
        let path = directory.path().to_owned();
        self.scratch.push(directory);
        Ok(path)
    }

    /// Takes a tar (compressed or not) as the context, or anything else as a Dockerfile.
    fn read_stdin(&mut self, input: &mut dyn Read) -> Result<PathBuf, ContextError> {
        let mut head = vec![0; 512];
        let length = read_head(input, &mut head).at("standard input")?;
        head.truncate(length);
        if head.is_empty() {
            return Err(ContextError::EmptyStdin);
        }
        let directory = self.scratch()?;
        let is_archive = is_tar(&head);
        let mut whole = io::Cursor::new(head).chain(input).take(MAX_STDIN_BYTES);
        if is_archive {
            let buffered = io::BufReader::new(&mut whole);
            let mut reader = lamina_content::decoder(buffered).at("standard input")?;
            // A directory of ours that nothing else writes to; the crate keeps entries inside.
            tar::Archive::new(&mut reader)
                .unpack(&directory)
                .at("standard input")?;
        } else {
            let path = directory.join("Dockerfile");
            let mut file = fs::File::create_new(&path).at(path.display())?;
            io::copy(&mut whole, &mut file).at("standard input")?;
        }
        Ok(directory)
    }

    /// Adds one `--build-context`.
    pub(crate) fn add_named(&mut self, text: &str) -> Result<(), ContextError> {
        let bad = || ContextError::BadNamedContext(text.to_owned());
        let (name, source) = text.split_once('=').ok_or_else(bad)?;
        if name.is_empty() || source.is_empty() {
            return Err(bad());
        }
        let value = if let Some(layout) = source.strip_prefix("oci-layout://") {
            self.add_layout(layout)?
        } else if source.starts_with("docker-image://") || is_address(source) {
            source.to_owned()
        } else if source.contains("://") {
            return Err(ContextError::Remote(source.to_owned()));
        } else {
            self.locals
                .insert(name.to_owned(), existing_directory(source)?);
            format!("local:{name}")
        };
        self.options.insert(format!("context:{name}"), value);
        Ok(())
    }

    /// Registers `DIR[:TAG|@DIGEST]` and returns the frontend's form of it.
    fn add_layout(&mut self, text: &str) -> Result<String, ContextError> {
        let (path, reference) = layout::split(text);
        let directory = existing_directory(path)?;
        let digest = match reference {
            LayoutReference::Digest(digest) => digest.to_owned(),
            LayoutReference::Tag(tag) => layout::tagged(&directory, tag)?.to_string(),
        };
        let store = format!("layout-{}", &Digest::of(path.as_bytes()).hex()[..12]);
        self.layouts.insert(store.clone(), directory);
        Ok(format!("oci-layout://{store}@{digest}"))
    }
}

fn read_head(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Says whether `head` begins a tar archive or a compressed file.
fn is_tar(head: &[u8]) -> bool {
    const MAGICS: [&[u8]; 4] = [
        &[0x1f, 0x8b],
        b"BZh",
        &[0xfd, b'7', b'z', b'X', b'Z'],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    MAGICS.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

/// Says whether a context is not on this host: a repository of git, an archive or a Dockerfile.
fn is_address(text: &str) -> bool {
    let starts = ["http://", "https://", "git://", "ssh://", "git@"];
    starts.iter().any(|start| text.starts_with(start))
}

fn existing_directory(path: &str) -> Result<PathBuf, ContextError> {
    if is_address(path) {
        return Err(ContextError::Remote(path.to_owned()));
    }
    let directory = std::path::absolute(path).at(path)?;
    if !fs::metadata(&directory).at(path)?.is_dir() {
        return Err(ContextError::NotADirectory(path.to_owned()));
    }
    Ok(directory)
}

/// A Dockerfile inside the context is read as part of it, one outside from its own directory.
fn split_file(context: &Path, file: &str) -> Result<(PathBuf, Option<String>), ContextError> {
    let path = std::path::absolute(file).at(file)?;
    if let Ok(inside) = path.strip_prefix(context) {
        return Ok((
            context.to_owned(),
            Some(inside.to_string_lossy().into_owned()),
        ));
    }
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_left_to_the_engine() {
        let url = "https://h.test/x.git#main:sub";
        let context = Context::open(url, Some("sub/Dockerfile")).expect("no directory");
        assert!(context.locals.is_empty());
        let option = |name: &str| context.options.get(name).map(String::as_str);
        assert_eq!(option("context"), Some(url));
        assert_eq!(option("filename"), Some("sub/Dockerfile"));
        let outside = Context::open("git@h.test:x.git", Some("/a/Dockerfile")).expect("fits");
        assert_eq!(outside.locals["dockerfile"], Path::new("/a"));
        assert_eq!(outside.options["dockerfilekey"], "dockerfile");
        let mut context = Context::default();
        context.add_named("n=https://h.test/x.git").expect("fits");
        assert_eq!(context.options["context:n"], "https://h.test/x.git");
    }

    #[test]
    fn standard_input_is_a_dockerfile_or_a_tar() {
        let mut context = Context::default();
        let directory = context
            .read_stdin(&mut &b"FROM scratch\n"[..])
            .expect("a Dockerfile");
        assert_eq!(
            fs::read(directory.join("Dockerfile")).expect("written"),
            b"FROM scratch\n"
        );

        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, "sub/x", &b"y"[..])
            .expect("appended");
        let bytes = archive.into_inner().expect("finished");
        let directory = context.read_stdin(&mut bytes.as_slice()).expect("a tar");
        assert_eq!(fs::read(directory.join("sub/x")).expect("unpacked"), b"y");

        assert!(matches!(
            context.read_stdin(&mut &b""[..]),
            Err(ContextError::EmptyStdin)
        ));
    }

    #[test]
    fn the_dockerfile_may_lie_outside() {
        let context = Path::new("/ctx");
        let split = |file| split_file(context, file).expect("splits");
        assert_eq!(split("/ctx/a/D"), ("/ctx".into(), Some("a/D".to_owned())));
        assert_eq!(split("/other/D"), ("/other".into(), Some("D".to_owned())));
    }

    #[test]
    fn mistakes_are_named() {
        let mut context = Context::default();
        for (text, part) in [
            ("base", "expected NAME=DIR"),
            ("base=", "expected NAME=DIR"),
            ("base=ftp://example.com/x", "give a directory"),
            ("base=/no/such/dir", "/no/such/dir"),
        ] {
            let message = context.add_named(text).expect_err(text).to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
