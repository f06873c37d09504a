//! Opening: the folder, its format, and one scan over what is in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lamina_types::IoContext;
use lamina_types::LayerId;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Deserialize;
use serde::Serialize;

use super::StorePlace;
use super::files;
use super::flushed;
use super::flushed::Flushed;
use super::manifest;
use super::manifest::Manifest;
use crate::SnapshotError;
use crate::XattrNamespace;
use crate::error::errno;
use crate::fdio;
use crate::remove;

/// Version of everything below `layers/`.
const VERSION: u32 = 1;

const FORMAT_FILE: &str = "format";

/// Folder that is the bottom of views which need one.
pub(crate) const EMPTY_DIR: &str = "empty";

/// Folders that another process left behind start with one of these.
const UNFINISHED: [&str; 2] = ["tmp-", "dead-"];

/// Threads that read manifests; more only wait for the same folder.
const MAX_SCANNERS: usize = 4;

/// Layers that are not worth another thread.
const FAIR_SHARE: usize = 256;

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
    xattrs: String,
}

pub(super) fn open_place(dir: &Path) -> Result<Arc<StorePlace>, SnapshotError> {
    let path = std::path::absolute(dir).at(dir.display())?;
    std::fs::create_dir_all(&path).at(path.display())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&path, flags, Mode::empty()).at(path.display())?;
    // The kernel's own spelling, to recognise files of the store by where they are.
    let path = std::fs::read_link(fdio::proc_path(&dir)).at(path.display())?;
    Ok(Arc::new(StorePlace { path, dir }))
}

pub(super) fn check_format(
    place: &StorePlace,
    namespace: XattrNamespace,
) -> Result<(), SnapshotError> {
    let text = match files::read(&place.dir, FORMAT_FILE.as_bytes()) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return initialise(place, namespace),
        Err(error) => return Err(error),
    };
    let wrong = |reason: String| SnapshotError::Format {
        path: place.path.join(FORMAT_FILE).display().to_string(),
        reason,
    };
    let format: Format =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("unreadable: {error}")))?;
    if format.version != VERSION {
        return Err(wrong(format!(
            "version {} is not {VERSION}",
            format.version
        )));
    }
    if XattrNamespace::from_word(&format.xattrs) != Some(namespace) {
        let reason = format!("made for {} attributes, not {namespace}", format.xattrs);
        return Err(wrong(reason));
    }
    Ok(())
}

fn initialise(place: &StorePlace, namespace: XattrNamespace) -> Result<(), SnapshotError> {
    let format = Format {
        version: VERSION,
        xattrs: namespace.word().to_owned(),
    };
    let text = serde_json::to_vec(&format).expect("a struct of plain fields serializes");
    files::replace_durably(&place.dir, FORMAT_FILE, &text)?;
    files::sync_dir(&place.dir)
}

/// Makes the empty directory if it is missing.
pub(super) fn make_empty_dir(place: &StorePlace) -> Result<(), SnapshotError> {
    match rustix::fs::mkdirat(&place.dir, EMPTY_DIR, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(errno(error, EMPTY_DIR)),
    }
}

/// What is in the folder.
pub(super) struct Contents {
    pub(super) layers: Vec<(LayerId, Manifest)>,
    pub(super) flushed: Flushed,
}

impl Contents {
    /// Returns the largest id that something on disk has or speaks of.
    pub(super) fn highest(&self) -> u64 {
        let ids = self.layers.iter().map(|(id, _)| id.0);
        let highest = ids.max().unwrap_or(0);
        highest.max(self.flushed.below.saturating_sub(1))
    }

    /// Returns the layers that a loss of power would take.
    pub(super) fn unflushed(&self) -> BTreeSet<LayerId> {
        let ids = self.layers.iter().map(|(id, _)| *id);
        ids.filter(|id| !self.flushed.names(*id)).collect()
    }
}

/// Reads all manifests and deletes what is unfinished, broken, or may have been lost in part when the
/// machine stopped.
pub(super) fn scan(place: &StorePlace) -> Result<Contents, SnapshotError> {
    let flushed = Flushed::read(place);
    let mut ids = names(place)?;
    if !flushed::is_same_boot(place)? {
        let (kept, lost) = ids.into_iter().partition(|id| flushed.names(*id));
        discard_unflushed(place, lost);
        ids = kept;
        flushed::note_boot(place)?;
    }
    Ok(Contents {
        layers: load_all(place, &ids),
        flushed,
    })
}

/// Deletes layers of another boot that were never flushed.
fn discard_unflushed(place: &StorePlace, lost: Vec<LayerId>) {
    if lost.is_empty() {
        return;
    }
    let count = lost.len();
    tracing::warn!(
        count,
        "dropping layers that were not on disk for sure when the machine stopped"
    );
    for id in lost {
        discard(place, &id.to_string());
    }
}

/// Returns the ids in the folder; deletes what an earlier process left.
fn names(place: &StorePlace) -> Result<Vec<LayerId>, SnapshotError> {
    let mut ids = Vec::new();
    for raw in fdio::read_names(&place.dir).at(place.path.display())? {
        let Ok(name) = std::str::from_utf8(&raw.name) else {
            continue;
        };
        if UNFINISHED.iter().any(|prefix| name.starts_with(prefix)) {
            discard(place, name);
        } else {
            ids.extend(parse_id(name));
        }
    }
    Ok(ids)
}

/// Loads layers with several threads: a store has ten thousand of them, and clients wait.
fn load_all(place: &StorePlace, ids: &[LayerId]) -> Vec<(LayerId, Manifest)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ids
        .len()
        .div_ceil(processors.min(MAX_SCANNERS))
        .max(FAIR_SHARE);
    let load = |ids: &[LayerId]| -> Vec<_> {
        let loaded = ids.iter().map(|id| (*id, load_or_discard(place, *id)));
        loaded
            .filter_map(|(id, loaded)| Some((id, loaded?)))
            .collect()
    };
    if ids.len() <= share {
        return load(ids);
    }
    std::thread::scope(|scope| {
        let threads = ids.chunks(share).map(|ids| scope.spawn(move || load(ids)));
        let threads: Vec<_> = threads.collect();
        let loaded = threads.into_iter().map(|thread| thread.join());
        loaded
            .flat_map(|loaded| loaded.expect("loading does not panic"))
            .collect()
    })
}

fn load_or_discard(place: &StorePlace, id: LayerId) -> Option<Manifest> {
    let name = id.to_string();
    match load(place, &name) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            tracing::warn!(layer = name, %error, "dropping a layer with a bad manifest");
            discard(place, &name);
            None
        }
    }
}

/// Accepts exactly the spelling that we write.
fn parse_id(name: &str) -> Option<LayerId> {
    let id: LayerId = name.parse().ok()?;
    (id.to_string() == name).then_some(id)
}

fn load(place: &StorePlace, name: &str) -> Result<Manifest, SnapshotError> {
    let folder = fdio::open_dir(&place.dir, name.as_bytes()).at(name)?;
    let manifest = manifest::read(&folder)?;
    fdio::open_dir(&folder, b"fs").at(name)?;
    Ok(manifest)
}

fn discard(place: &StorePlace, name: &str) {
    if let Err(error) = remove::remove_tree(&place.dir, name.as_bytes()) {
        tracing::warn!(name, %error, "cannot remove what an earlier process left");
    }
}

/// Returns the process's file mode creation mask; everything if it cannot be told, which costs a
/// `chmod` per new file and nothing else.
pub(super) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_spelling_is_an_id() {
        for (name, id) in [
            ("1", Some(1)),
            ("ff", Some(255)),
            ("FF", None),
            ("01", None),
            ("+1", None),
            ("", None),
            ("empty", None),
            ("next", None),
        ] {
            assert_eq!(parse_id(name), id.map(LayerId), "{name}");
        }
    }
}
