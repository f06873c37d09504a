//! The state folder: one owner, one format.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use lamina_snapshotter::XattrNamespace;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::OpenError;
use crate::random_id;

/// The version of the folder's layout.
const VERSION: u32 = 1;

/// A state folder that this process owns until it is dropped.
pub(crate) struct State {
    pub(crate) root: PathBuf,
    /// For this engine alone; removed with it.
    pub(crate) run_dir: PathBuf,
    /// Locked; the kernel unlocks it however the process ends.
    _lock: File,
}

/// What `format` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    version: u32,
    xattrs: String,
}

impl State {
    /// Makes the folder if needed and becomes its owner, waiting for another process to leave it;
    /// `on_wait` is called before waiting.
    pub(crate) async fn open(
        root: &Path,
        run_dir: &Path,
        namespace: XattrNamespace,
        on_wait: Option<Box<dyn FnOnce() + Send>>,
    ) -> Result<Self, OpenError> {
        make_private_dir(root)?;
        let root = std::path::absolute(root).at(root.display())?;
        let lock = lock(&root, on_wait).await?;
        check_format(&root, namespace)?;
        let run_dir = fresh_run_dir(run_dir, &root)?;
        Ok(Self {
            root,
            run_dir,
            _lock: lock,
        })
    }

    /// Returns the id that clients know the engine by: made up once, then always the same.
    pub(crate) fn worker_id(&self) -> Result<String, PathError> {
        let path = self.root.join("worker");
        if let Ok(id) = fs::read_to_string(&path)
            && !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Ok(id);
        }
        let id = random_id();
        write_whole(&path, id.as_bytes())?;
        Ok(id)
    }

    /// Returns the folder `name`, made if it does not exist.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, PathError> {
        let path = self.root.join(name);
        make_private_dir(&path)?;
        Ok(path)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.run_dir) {
            let path = self.run_dir.display();
            tracing::warn!(%path, %error, "the run folder could not be removed");
        }
    }
}

/// Locks the folder `root` for this process.
async fn lock(root: &Path, on_wait: Option<Box<dyn FnOnce() + Send>>) -> Result<File, PathError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .at(path.display())?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(error)) => return Err(error).at(path.display()),
        Err(TryLockError::WouldBlock) => {}
    }
    if let Some(on_wait) = on_wait {
        on_wait();
    }
    // A thread of its own waits; if nobody waits for it any more, the lock goes with the file.
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || drop(sender.send(file.lock().map(|()| file))));
    let locked = receiver
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
    locked.at(path.display())
}

fn check_format(root: &Path, namespace: XattrNamespace) -> Result<(), OpenError> {
    let path = root.join("format");
    let ours = Format {
        version: VERSION,
        xattrs: namespace_name(namespace).to_owned(),
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(write_format(&path, &ours)?);
        }
        Err(error) => Err(error).at(path.display())?,
    };
    let refuse = |reason: String| OpenError::Format {
        root: root.display().to_string(),
        reason,
    };
    let found: Format = serde_json::from_slice(&text)
        .map_err(|error| refuse(format!("the file \"format\" is damaged: {error}")))?;
    if found.version != ours.version {
        return Err(refuse(format!(
            "the state folder has version {}, this program knows {VERSION}; use another folder or \
             remove it",
            found.version
        )));
    }
    if found.xattrs != ours.xattrs {
        return Err(refuse(format!(
            "the state folder was made with {} xattrs and this user needs {} xattrs; use another \
             folder",
            found.xattrs, ours.xattrs
        )));
    }
    Ok(())
}

fn namespace_name(namespace: XattrNamespace) -> &'static str {
    match namespace {
        XattrNamespace::Trusted => "trusted",
        XattrNamespace::User => "user",
    }
}

fn write_format(path: &Path, format: &Format) -> Result<(), PathError> {
    write_whole(path, &serde_json::to_vec(format).at(path.display())?)
}

/// Writes a file through a temporary name, so that it is there whole or not at all.
fn write_whole(path: &Path, text: &[u8]) -> Result<(), PathError> {
    let temporary = path.with_extension("tmp");
    File::create(&temporary)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .at(temporary.display())?;
    fs::rename(&temporary, path).at(path.display())
}

/// Returns an empty folder below `run_dir` that belongs to the state folder `root`. Whoever owns
/// `root` owns it, so what a killed process left there can go.
fn fresh_run_dir(run_dir: &Path, root: &Path) -> Result<PathBuf, PathError> {
    make_private_dir(run_dir)?;
    let name = Digest::of(root.as_os_str().as_encoded_bytes()).hex();
    let path = run_dir.join(&name[..16]);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(path.display())?,
        _ => {}
    }
    make_private_dir(&path)?;
    Ok(path)
}

/// Makes a folder, and its parents, that only this user can enter.
fn make_private_dir(path: &Path) -> Result<(), PathError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.at(path.display())
}
