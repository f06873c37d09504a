//! How many names files of sealed layers have.
//!
//! The host's count will not do: it includes names in other layers, which share inodes by hard links
//! (copy by link) but are other files in the view. So the names within the layer are counted, once,
//! when the first file with several links is asked for.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_types::LayerId;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::io::Result;

use crate::LayerStack;
use crate::fdio;
use crate::store::Layer;

/// The inodes of one layer that have several names there.
type Counts = HashMap<u64, u32>;

/// Counts names within layers.
pub(super) struct LinkCounts {
    stack: LayerStack,
    counted: Mutex<HashMap<LayerId, Arc<Counts>>>,
}

impl LinkCounts {
    pub(super) fn new(stack: LayerStack) -> Self {
        Self {
            stack,
            counted: Mutex::default(),
        }
    }

    /// Returns how many names `inode` has in `layer`; 1 for one that is not there.
    pub(super) fn of(&self, layer: LayerId, inode: u64) -> Result<u32> {
        // Held while counting: who comes second waits for the same answer.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = counted.get(&layer) {
            return Ok(counts.get(&inode).copied().unwrap_or(1));
        }
        let mut layers = self.stack.layers().iter();
        let found = layers.find(|known| known.id() == layer);
        let counts = Arc::new(count(found.ok_or(Errno::STALE)?)?);
        let known = counted.entry(layer).or_insert(counts);
        Ok(known.get(&inode).copied().unwrap_or(1))
    }
}

fn count(layer: &Layer) -> Result<Counts> {
    let root = layer.open_fs().map_err(|_| Errno::IO)?;
    let mut counts = Counts::new();
    let mut todo: Vec<(Arc<OwnedFd>, Vec<u8>)> = vec![(root, b".".to_vec())];
    while let Some((parent, name)) = todo.pop() {
        let dir = Arc::new(fdio::open_dir(&parent, &name)?);
        for raw in fdio::read_names(&dir)? {
            let is_dir = match raw.hint {
                FileType::Unknown => {
                    fdio::stat_at(&dir, &raw.name)?.is_some_and(|stat| stat.is_dir())
                }
                hint => hint == FileType::Directory,
            };
            match is_dir {
                true => todo.push((Arc::clone(&dir), raw.name)),
                false => *counts.entry(raw.inode).or_default() += 1,
            }
        }
    }
    counts.retain(|_, names| *names > 1);
    Ok(counts)
}
