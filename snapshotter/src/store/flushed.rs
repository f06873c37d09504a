//! Which layers would survive a loss of power.
//!
//! ```text
//! layers/flushed   {"version":1,"below":id,"except":[id,..]}: these layers are on disk as a whole
//! layers/boot      the kernel's id of the boot in which the store was last opened
//! ```
//!
//! Publishing a layer flushes nothing: a flush for each would cost more than most steps do. The kernel
//! has what was written and keeps it if this process is killed, so until the machine stops a published
//! layer is as good as any. [`SnapshotStore::flush`] has the file system write down everything that
//! waits, once for all layers that were published before, and only then names them in `flushed`.
//!
//! Whoever opens the store in another boot than the last one cannot know whether the machine was shut
//! down or lost its power, and drops the layers that `flushed` does not name: they may have empty files
//! where data should be, and nothing would notice.
//!
//! A store without either file comes from a version that knew neither. What it has from this boot is
//! flushed and named when it is first opened, what is older is dropped as after any other boot.
//!
//! Layers are finished in another order than their ids say. So the file names all ids below one but for
//! those of layers that were being written at that moment; it stays small whatever the store holds.

use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::IoContext;
use lamina_types::LayerId;
use rustix::time::ClockId;
use serde::Deserialize;
use serde::Serialize;

use super::SnapshotStore;
use super::StorePlace;
use super::files;
use super::ids::Ids;
use crate::SnapshotError;
use crate::fdio;

const FLUSHED: &str = "flushed";

const BOOT: &str = "boot";

/// Where the kernel tells which boot this is: another text each time.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

const VERSION: u32 = 1;

/// The layers that are on disk as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Flushed {
    version: u32,
    /// All with smaller ids,
    pub(super) below: u64,
    /// but for these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<LayerId>,
}

impl Flushed {
    /// Says so of no layer.
    fn none() -> Self {
        Self {
            version: VERSION,
            below: 0,
            except: BTreeSet::new(),
        }
    }

    /// Names the layers that were sealed after the second `started`.
    fn since(started: i64, sealed: &[(LayerId, i64)]) -> Self {
        let ids = sealed.iter().map(|(id, _)| id.0);
        let older = sealed.iter().filter(|(_, at)| *at <= started);
        Self {
            version: VERSION,
            below: ids.max().map_or(0, |highest| highest + 1),
            except: older.map(|(id, _)| *id).collect(),
        }
    }

    /// Reads the file. One that is missing or makes no sense says so of no layer.
    pub(super) fn read(place: &StorePlace) -> Self {
        let text = files::read(&place.dir, FLUSHED.as_bytes()).ok();
        let flushed: Option<Self> = text.and_then(|text| serde_json::from_slice(&text).ok());
        flushed
            .filter(|flushed| flushed.version == VERSION)
            .unwrap_or_else(Self::none)
    }

    fn write(&self, place: &StorePlace) -> Result<(), SnapshotError> {
        let text = serde_json::to_vec(self).expect("a struct of plain fields serializes");
        files::replace_durably(&place.dir, FLUSHED, &text)?;
        files::sync_dir(&place.dir)
    }

    pub(super) fn names(&self, id: LayerId) -> bool {
        id.0 < self.below && !self.except.contains(&id)
    }
}

/// Says whether the store was made by a version that did not note what is on disk.
pub(super) fn is_without_notes(place: &StorePlace) -> Result<bool, SnapshotError> {
    for file in [FLUSHED, BOOT] {
        if fdio::stat_at(&place.dir, file.as_bytes())
            .at(file)?
            .is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts the notes of such a store: what was sealed since the machine was started cannot have been lost
/// and is flushed now; of the rest nobody knows.
pub(super) fn start_notes(place: &StorePlace, ids: &[LayerId]) -> Result<Flushed, SnapshotError> {
    let started = now(ClockId::Realtime) - now(ClockId::Boottime);
    let sealed: Vec<(LayerId, i64)> = ids
        .iter()
        .filter_map(|id| Some((*id, sealed_at(place, *id)?)))
        .collect();
    let flushed = Flushed::since(started, &sealed);
    rustix::fs::syncfs(&place.dir).at(place.path.display())?;
    flushed.write(place)?;
    Ok(flushed)
}

fn now(clock: ClockId) -> i64 {
    rustix::time::clock_gettime(clock).tv_sec
}

/// Returns the second in which a layer's root was last changed, which sealing does and nothing after it.
fn sealed_at(place: &StorePlace, id: LayerId) -> Option<i64> {
    let root = fdio::stat_at(&place.dir, format!("{id}/fs").as_bytes());
    Some(root.ok()??.ctime().0)
}

/// Says whether the machine has run on since the store was last opened, so that nothing that was
/// written can have been lost.
pub(super) fn is_same_boot(place: &StorePlace) -> Result<bool, SnapshotError> {
    let Ok(now) = std::fs::read(BOOT_ID) else {
        return Ok(false);
    };
    let last = files::read(&place.dir, BOOT.as_bytes()).unwrap_or_default();
    Ok(last == now)
}

/// Notes that the store is open in this boot; to be called when what an earlier one lost is gone.
pub(super) fn note_boot(place: &StorePlace) -> Result<(), SnapshotError> {
    match std::fs::read(BOOT_ID) {
        Ok(now) => files::replace(&place.dir, BOOT, &now),
        Err(_) => Ok(()),
    }
}

/// What this process made of ids, under one lock, so that a flush sees all of it at one moment.
pub(super) struct Progress {
    pub(super) ids: Ids,
    /// Being written.
    active: BTreeSet<LayerId>,
    /// Published, and not known to be on disk.
    unflushed: BTreeSet<LayerId>,
}

impl Progress {
    /// Starts with the published layers that `flushed` does not name.
    pub(super) fn new(ids: Ids, unflushed: BTreeSet<LayerId>) -> Self {
        Self {
            ids,
            active: BTreeSet::new(),
            unflushed,
        }
    }

    pub(super) fn begin(&mut self, place: &StorePlace) -> Result<LayerId, SnapshotError> {
        let id = self.ids.take(place)?;
        self.active.insert(id);
        Ok(id)
    }

    pub(super) fn published(&mut self, id: LayerId) {
        self.active.remove(&id);
        self.unflushed.insert(id);
    }

    pub(super) fn discarded(&mut self, id: LayerId) {
        self.active.remove(&id);
    }

    pub(super) fn deleted(&mut self, id: LayerId) {
        self.unflushed.remove(&id);
    }

    /// Returns what `flushed` is to say once all that is written by now is on disk, and the layers
    /// that it says so of for the first time.
    fn begin_flush(&mut self) -> (Flushed, BTreeSet<LayerId>) {
        let flushed = Flushed {
            version: VERSION,
            below: self.ids.next(),
            except: self.active.clone(),
        };
        (flushed, std::mem::take(&mut self.unflushed))
    }
}

impl SnapshotStore {
    /// Makes every layer that is published by now survive a loss of power. Returns at once if there is
    /// nothing to do, else when the file system has written down all that waits, also of others; calls
    /// from several threads share that.
    ///
    /// # Errors
    /// I/O errors; the layers then stay as they were, good until the machine stops.
    pub fn flush(&self) -> Result<(), SnapshotError> {
        let alone = self.0.flushing.lock();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        if self.unflushed() == 0 {
            return Ok(());
        }
        let (flushed, layers) = self.progress().begin_flush();
        let done = self.sync().and_then(|()| flushed.write(&self.0.place));
        if done.is_err() {
            self.progress().unflushed.extend(layers);
        }
        done
    }

    /// Returns how many layers a loss of power would take.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.progress().unflushed.len()
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        Ok(rustix::fs::syncfs(self.dir()).at(self.path().display())?)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        let progress = self.0.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[u64]) -> BTreeSet<LayerId> {
        list.iter().copied().map(LayerId).collect()
    }

    #[test]
    fn what_is_being_written_during_a_flush_is_not_named() {
        let mut progress = Progress::new(Ids::new(6), ids(&[3]));
        progress.active = ids(&[4, 5]);
        progress.published(LayerId(5));
        let (flushed, layers) = progress.begin_flush();
        assert_eq!(layers, ids(&[3, 5]));
        for (id, named) in [(1, true), (3, true), (4, false), (5, true), (7, false)] {
            assert_eq!(flushed.names(LayerId(id)), named, "{id}");
        }
        progress.published(LayerId(4));
        assert_eq!(progress.begin_flush().1, ids(&[4]));
    }

    #[test]
    fn a_store_without_notes_keeps_what_is_of_this_boot() {
        let sealed = [(4, 100), (5, 90), (9, 101)].map(|(id, at)| (LayerId(id), at));
        let flushed = Flushed::since(100, &sealed);
        let named = [4, 5, 9, 10].map(|id| flushed.names(LayerId(id)));
        assert_eq!(named, [false, false, true, false]);
        assert!(!Flushed::since(100, &[]).names(LayerId(0)));
    }

    #[test]
    fn the_file_is_small_and_strict() {
        let flushed = Flushed {
            version: VERSION,
            below: 9,
            except: ids(&[4]),
        };
        let text = serde_json::to_string(&flushed).unwrap();
        assert_eq!(text, r#"{"version":1,"below":9,"except":[4]}"#);
        assert_eq!(serde_json::from_str::<Flushed>(&text).unwrap(), flushed);
        assert!(!Flushed::none().names(LayerId(0)));
    }
}
