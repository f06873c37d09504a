//! Opening: the folder, its format, and one scan over what is in it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
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
use super::dead_name;
use super::files;
use super::flushed;
use super::flushed::Flushed;
use super::manifest;
use super::manifest::Manifest;
use crate::Owners;
use crate::SnapshotError;
use crate::StoreFormat;
use crate::XattrNamespace;
use crate::error::errno;
use crate::fdio;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owners: Option<String>,
}

/// Opens the folder and reads its format, or makes it with the one that is `wanted`.
pub(super) fn open_place(
    dir: &Path,
    wanted: StoreFormat,
) -> Result<Arc<StorePlace>, SnapshotError> {
    let path = std::path::absolute(dir).at(dir.display())?;
    std::fs::create_dir_all(&path).at(path.display())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&path, flags, Mode::empty()).at(path.display())?;
    // The kernel's own spelling, to recognise files of the store by where they are.
    let path = std::fs::read_link(fdio::proc_path(&dir)).at(path.display())?;
    let format = match files::read(&dir, FORMAT_FILE.as_bytes()) {
        Ok(text) => accept(&text, wanted).map_err(|reason| SnapshotError::Format {
            path: path.join(FORMAT_FILE).display().to_string(),
            reason,
        })?,
        Err(error) if error.is_not_found() => initialise(&dir, wanted)?,
        Err(error) => return Err(error),
    };
    Ok(Arc::new(StorePlace { path, dir, format }))
}

/// Reads the header of a store that is to be used as `wanted`, or says why it cannot be.
///
/// Stored owners need somebody who knows of them; real ones are what everybody can read, so an older
/// store of a user with a single id goes on as it is.
fn accept(text: &[u8], wanted: StoreFormat) -> Result<StoreFormat, String> {
    let found: Format =
        serde_json::from_slice(text).map_err(|error| format!("unreadable: {error}"))?;
    if found.version != VERSION {
        return Err(format!("version {} is not {VERSION}", found.version));
    }
    if XattrNamespace::from_word(&found.xattrs) != Some(wanted.xattrs) {
        let (found, wanted) = (found.xattrs, wanted.xattrs);
        return Err(format!("made for {found} attributes, not {wanted}"));
    }
    let owners = Owners::from_word(found.owners.as_deref());
    match (owners, wanted.owners) {
        (Some(Owners::Stored), Owners::Real) => Err(STORED_OWNERS.to_owned()),
        (Some(owners), _) => Ok(StoreFormat { owners, ..wanted }),
        (None, _) => {
            let found = found.owners.unwrap_or_default();
            Err(format!("made for {found} owners, which are unknown here"))
        }
    }
}

/// Why a store of a user with a single id is not opened otherwise.
const STORED_OWNERS: &str = "made by a user with a single id: it keeps the owners of files in \
     attributes, which needs such a user and mounts over FUSE; use another folder";

fn initialise(dir: &OwnedFd, format: StoreFormat) -> Result<StoreFormat, SnapshotError> {
    let header = Format {
        version: VERSION,
        xattrs: format.xattrs.word().to_owned(),
        owners: format.owners.word().map(str::to_owned),
    };
    let text = serde_json::to_vec(&header).expect("a struct of plain fields serializes");
    files::replace_durably(dir, FORMAT_FILE, &text)?;
    files::sync_dir(dir)?;
    Ok(format)
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
    /// Names of folders to be deleted.
    pub(super) dead: Vec<String>,
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

/// Reads all manifests. What is unfinished, broken, or may have been lost in part when the machine
/// stopped, gets a name that is none of a layer.
pub(super) fn scan(place: &StorePlace) -> Result<Contents, SnapshotError> {
    let mut flushed = Flushed::read(place);
    let (mut ids, mut dead) = names(place)?;
    if !flushed::is_same_boot(place)? {
        if !ids.is_empty() && flushed::is_without_notes(place)? {
            flushed = flushed::start_notes(place, &ids)?;
        }
        let (kept, lost): (_, Vec<LayerId>) = ids.into_iter().partition(|id| flushed.names(*id));
        let detached = detach_lost(place, &lost);
        // What still has its name would pass for sound in a boot that is noted.
        if detached.len() == lost.len() {
            flushed::note_boot(place)?;
        }
        dead.extend(detached);
        ids = kept;
    }
    let (layers, broken) = load_all(place, &ids);
    dead.extend(broken.into_iter().filter_map(|id| detach(place, id)));
    Ok(Contents {
        layers,
        dead,
        flushed,
    })
}

/// Takes the names of layers of another boot that were never flushed.
fn detach_lost(place: &StorePlace, lost: &[LayerId]) -> Vec<String> {
    if !lost.is_empty() {
        let count = lost.len();
        tracing::warn!(
            count,
            "dropping layers that were not on disk for sure when the machine stopped"
        );
    }
    let detached = lost.iter().filter_map(|id| detach(place, *id));
    detached.collect()
}

/// Takes a layer's name; returns the new one.
fn detach(place: &StorePlace, id: LayerId) -> Option<String> {
    let dead = dead_name(id);
    match rustix::fs::renameat(&place.dir, id.to_string(), &place.dir, &dead) {
        Ok(()) => Some(dead),
        Err(error) => {
            tracing::warn!(layer = %id, %error, "a bad layer could not be removed");
            None
        }
    }
}

/// Returns the ids in the folder, and the names of what an earlier process left.
fn names(place: &StorePlace) -> Result<(Vec<LayerId>, Vec<String>), SnapshotError> {
    let (mut ids, mut dead) = (Vec::new(), Vec::new());
    for raw in fdio::read_names(&place.dir).at(place.path.display())? {
        let Ok(name) = String::from_utf8(raw.name) else {
            continue;
        };
        if UNFINISHED.iter().any(|prefix| name.starts_with(prefix)) {
            dead.push(name);
        } else {
            ids.extend(parse_id(&name));
        }
    }
    Ok((ids, dead))
}

/// Layers by id, and those that cannot be loaded.
type Loaded = (Vec<(LayerId, Manifest)>, Vec<LayerId>);

/// Loads layers with several threads: a store has ten thousand of them, and clients wait.
fn load_all(place: &StorePlace, ids: &[LayerId]) -> Loaded {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ids
        .len()
        .div_ceil(processors.min(MAX_SCANNERS))
        .max(FAIR_SHARE);
    if ids.len() <= share {
        return load_some(place, ids);
    }
    std::thread::scope(|scope| {
        let threads = ids
            .chunks(share)
            .map(|ids| scope.spawn(move || load_some(place, ids)));
        let threads: Vec<_> = threads.collect();
        let loaded = threads.into_iter().map(|thread| thread.join());
        let (good, bad): (Vec<_>, Vec<_>) = loaded
            .map(|loaded| loaded.expect("loading does not panic"))
            .unzip();
        (good.concat(), bad.concat())
    })
}

fn load_some(place: &StorePlace, ids: &[LayerId]) -> Loaded {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for id in ids {
        match load(place, &id.to_string()) {
            Ok(manifest) => good.push((*id, manifest)),
            Err(error) => {
                tracing::warn!(layer = %id, %error, "dropping a damaged layer");
                bad.push(*id);
            }
        }
    }
    (good, bad)
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
