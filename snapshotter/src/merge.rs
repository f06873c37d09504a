//! Stacks on top of each other.
//!
//! Sealed layers are free of context, so merging is concatenation: nothing is copied or linked (row
//! OPS-04). One thing is put right. A layer that changes `/a/b` has a directory `/a` with whatever
//! metadata it had where the layer was made. On top of another stack that implied parent would override
//! the owner and mode that `/a` has there. Where it does, one more layer on top gives the directory back
//! the metadata of the topmost layer that is really about it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::LayerStack;
use crate::MetadataChange;
use crate::SnapshotError;
use crate::SnapshotStore;
use crate::fdio;
use crate::metadata;
use crate::seal::same_directory;
use crate::store::Layer;

impl SnapshotStore {
    /// Concatenates `stacks`, first one at the bottom, keeping the topmost of layers that come twice.
    ///
    /// # Errors
    /// I/O errors, [`SnapshotError::Cancelled`].
    pub fn merge(
        &self,
        stacks: &[LayerStack],
        cancel: &CancelToken,
    ) -> Result<LayerStack, SnapshotError> {
        let layers = stacks
            .iter()
            .flat_map(|stack| stack.layers().iter().cloned());
        let merged = LayerStack::new(layers);
        if stacks.contains(&merged) {
            return Ok(merged);
        }
        let wrong = overridden_directories(&merged, cancel)?;
        if wrong.is_empty() {
            return Ok(merged);
        }
        let active = self.prepare(&merged)?;
        for (path, stat) in &wrong {
            let dir = active.writer().dir(path)?;
            dir.set_own_metadata(&MetadataChange::all_of(stat))?;
        }
        let layer = active.commit(cancel)?;
        Ok(merged.push(layer))
    }
}

/// Returns the directories that show the metadata of an implied parent, with what they should show.
fn overridden_directories(
    stack: &LayerStack,
    cancel: &CancelToken,
) -> Result<BTreeMap<RootedPath, Stat>, SnapshotError> {
    let implied: Vec<(Layer, BTreeSet<RootedPath>)> = stack
        .layers()
        .iter()
        .rev()
        .map(|layer| (layer.clone(), layer.implied_parents()))
        .collect();
    let paths: BTreeSet<&RootedPath> = implied.iter().flat_map(|(_, paths)| paths).collect();
    let mut wrong = BTreeMap::new();
    for path in paths {
        cancel.check()?;
        if let Some(stat) = right_metadata(&implied, path)? {
            wrong.insert(path.clone(), stat);
        }
    }
    Ok(wrong)
}

/// Returns what `path` should show, if that is not what it shows.
fn right_metadata(
    layers: &[(Layer, BTreeSet<RootedPath>)],
    path: &RootedPath,
) -> Result<Option<Stat>, SnapshotError> {
    let mut shown: Option<Stat> = None;
    for (layer, implied) in layers {
        match find_in_layer(layer, path)? {
            InLayer::Nothing => {}
            InLayer::Hidden => return Ok(None),
            InLayer::Directory(stat) => match (&shown, implied.contains(path)) {
                (None, false) => return Ok(None),
                (None, true) => shown = Some(stat),
                (Some(_), true) => {}
                (Some(shown), false) => {
                    return Ok((!same_directory(shown, &stat)).then_some(stat));
                }
            },
        }
    }
    Ok(None)
}

/// What one layer says of a directory.
enum InLayer {
    Nothing,
    /// The layer deletes it, or has something else in its place.
    Hidden,
    Directory(Stat),
}

fn find_in_layer(layer: &Layer, path: &RootedPath) -> Result<InLayer, SnapshotError> {
    let mut dir: Arc<OwnedFd> = layer.open_fs()?;
    for name in path.components() {
        match fdio::stat_at(&dir, name).at(path)? {
            None => return Ok(InLayer::Nothing),
            Some(raw) if !raw.is_dir() => return Ok(InLayer::Hidden),
            Some(_) => dir = Arc::new(fdio::open_dir(&dir, name).at(path)?),
        }
    }
    let (_, stat) = metadata::stat_of_opened(layer.owners(), &*dir).at(path)?;
    Ok(InLayer::Directory(stat))
}
