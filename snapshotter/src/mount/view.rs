//! Which layers a view is mounted from.
//!
//! The layers of its stack, but for two things that a process must not notice or the kernel cannot do:
//!
//! - layers that share inodes by link: two names for one inode would look like hard links, so one of
//!   the layers is replaced by a copy of it that shares nothing with the other;
//! - more layers than one mount takes: the lowest run is replaced by one layer with the same tree.
//!
//! Replacements are made of links wherever possible, are kept for the next mount, and never become part
//! of a stack.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::PoisonError;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::LayerId;

use super::flatten::copy_root;
use super::flatten::flatten;
use super::flatten::make_like;
use super::kernel::KernelOverlay;
use super::kernel::MAX_LOWER;
use super::kernel::Means;
use super::kernel::lower_folder;
use super::thread;
use crate::ActiveLayer;
use crate::ChangeKind;
use crate::LayerStack;
use crate::SnapshotError;
use crate::copy::Dirs;
use crate::copy::Placer;
use crate::copy::Times;
use crate::fdio;
use crate::links;
use crate::store::Layer;
use crate::tree::Follow;

impl KernelOverlay {
    /// Returns the layers to mount for `stack`, bottom first.
    pub(super) fn layers_to_mount(&self, stack: &LayerStack) -> Result<Vec<Layer>, SnapshotError> {
        let layers = self.without_shared_inodes(stack.layers())?;
        let most = self.most_layers(&layers);
        if layers.len() <= most {
            return Ok(layers);
        }
        let (lowest, rest) = layers.split_at(layers.len() - most + 1);
        let key = lowest.iter().map(Layer::id).collect();
        let flat = self.replacement(key, |active| {
            let root = LayerStack::new(lowest.iter().cloned()).tree().root()?;
            flatten(root, active, Placer::default())
        })?;
        Ok([flat].into_iter().chain(rest.iter().cloned()).collect())
    }

    /// Returns how many of `layers` one mount takes, counted from the top.
    fn most_layers(&self, layers: &[Layer]) -> usize {
        let mut room = match self.means {
            Means::LowerdirPlus => return MAX_LOWER,
            Means::Mount => thread::ROOM_FOR_LAYERS,
        };
        let fitting = layers.iter().rev().take_while(|layer| {
            let left = room.checked_sub(lower_folder(layer).len() + 1);
            room = left.unwrap_or(0);
            left.is_some()
        });
        fitting.count().min(MAX_LOWER)
    }

    fn without_shared_inodes(&self, layers: &[Layer]) -> Result<Vec<Layer>, SnapshotError> {
        if layers.iter().all(|layer| layer.links_from().is_empty()) {
            return Ok(layers.to_vec());
        }
        let mut kept: Vec<&Layer> = layers.iter().collect();
        // The layers that link are looked at last, so that they are the ones to be replaced.
        kept.sort_by_key(|layer| layer.links_from().len());
        let mut families: Vec<(&Layer, BTreeSet<LayerId>)> = Vec::new();
        let mut replaced = Vec::from(layers);
        for layer in kept {
            let family = links::family(layer);
            let relatives: Vec<&Layer> = families
                .iter()
                .filter(|(_, other)| !other.is_disjoint(&family))
                .map(|(other, _)| *other)
                .collect();
            if !relatives.is_empty() {
                let unshared = self.unshared(layer, &relatives)?;
                for place in &mut replaced {
                    if place.id() == layer.id() {
                        *place = unshared.clone();
                    }
                }
            }
            families.push((layer, family));
        }
        Ok(replaced)
    }

    /// Returns a layer like `layer` that shares no inode with `relatives`.
    fn unshared(&self, layer: &Layer, relatives: &[&Layer]) -> Result<Layer, SnapshotError> {
        let mut theirs = HashSet::new();
        for relative in relatives {
            theirs.extend(linked_inodes(relative)?);
        }
        let mut shared = linked_inodes(layer)?;
        shared.retain(|inode| theirs.contains(inode));
        if shared.is_empty() {
            return Ok(layer.clone());
        }
        let ids = [layer].into_iter().chain(relatives.iter().copied());
        let key = ids.map(Layer::id).collect();
        self.replacement(key, |active| replicate(layer, shared, active))
    }

    fn replacement(
        &self,
        key: Vec<LayerId>,
        write: impl FnOnce(&ActiveLayer) -> Result<(), SnapshotError>,
    ) -> Result<Layer, SnapshotError> {
        // Held while writing: two mounts of one stack need the replacement once.
        let known = self.replacements.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = known.get(&key) {
            return Ok(layer.clone());
        }
        let active = self.store.prepare(&LayerStack::empty())?;
        write(&active)?;
        let layer = active.commit(&CancelToken::new())?;
        known.insert(key, layer.clone());
        Ok(layer)
    }
}

/// Returns the inodes of a layer that have more than one name, here or in another layer.
fn linked_inodes(layer: &Layer) -> Result<HashSet<u64>, SnapshotError> {
    let mut found = HashSet::new();
    let mut todo = vec![(layer.open_fs()?, Vec::new())];
    let at = layer.id();
    while let Some((parent, name)) = todo.pop() {
        let dir = match name.is_empty() {
            true => parent,
            false => fdio::open_dir(&parent, &name).at(at)?.into(),
        };
        for raw in fdio::read_names(&dir).at(at)? {
            match fdio::stat_at(&dir, &raw.name).at(at)? {
                Some(stat) if stat.is_dir() => todo.push((dir.clone(), raw.name)),
                Some(stat) if stat.nlink() > 1 => drop(found.insert(stat.inode())),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Writes the same changes as `layer`, copying the inodes in `copied` and linking the others.
fn replicate(
    layer: &Layer,
    copied: HashSet<u64>,
    active: &ActiveLayer,
) -> Result<(), SnapshotError> {
    let tree = LayerStack::new([layer.clone()]).tree();
    let mut placer = Placer::copying(copied);
    let mut times = Times::default();
    let mut dirs = Dirs::of(&active.writer())?;
    for change in layer.changes()? {
        let change = change?;
        let Some((parent, name)) = change.path.parent().zip(change.path.file_name()) else {
            times.note(&copy_root(active, &tree.root()?)?, tree.root()?.stat());
            continue;
        };
        let dir = dirs.open(&parent)?;
        match change.kind {
            ChangeKind::Whiteout => dir.whiteout(name)?,
            ChangeKind::Entry { stat, .. } if stat.is_dir() => {
                times.note(&make_like(&dir, name, &stat)?, &stat);
            }
            ChangeKind::Entry { .. } | ChangeKind::HardLink { .. } => {
                placer.place(&dir, name, &tree.lookup(&change.path, Follow::Parents)?)?;
            }
        }
    }
    times.restore(&active.writer())
}
