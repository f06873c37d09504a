//! Hashing many files on all cores, with few of their directories open at a time.

use std::collections::HashMap;
use std::fs::File;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::LayerId;
use rayon::iter::IntoParallelRefIterator as _;
use rayon::iter::ParallelIterator as _;
use rustix::io::Errno;

use super::content;
use crate::LayerStack;
use crate::SnapshotError;
use crate::error::errno;
use crate::fdio;
use crate::metadata;
use crate::store::Layer;
use crate::tree::Entry;
use crate::tree::Part;

/// Files that are hashed together; each may keep one directory open.
const BATCH_FILES: usize = 256;

/// The layers whose digests are known or to be remembered.
pub(super) struct Context<'a> {
    layers: HashMap<LayerId, Layer>,
    pub(super) cancel: &'a CancelToken,
}

impl<'a> Context<'a> {
    pub(super) fn new(stack: &LayerStack, cancel: &'a CancelToken) -> Self {
        let layers = stack.layers().iter();
        Self {
            layers: layers.map(|layer| (layer.id(), layer.clone())).collect(),
            cancel,
        }
    }

    /// Returns the digest that is remembered for an inode of `part`'s layer.
    pub(super) fn known(&self, part: &Part, inode: u64) -> Option<Digest> {
        self.layers.get(&part.layer()?)?.digests().get(inode)
    }

    pub(super) fn remember(&self, part: &Part, inode: u64, digest: Digest) {
        if let Some(layer) = part.layer().and_then(|id| self.layers.get(&id)) {
            layer.digests().put(inode, digest);
        }
    }

    /// Writes down what was computed.
    pub(super) fn save(&self) {
        for layer in self.layers.values() {
            layer.save_digests();
        }
    }

    /// Digests `name`, which is not a directory.
    pub(super) fn file(&self, part: &Part, name: &[u8]) -> Result<Digest, SnapshotError> {
        self.cancel.check()?;
        let shown = String::from_utf8_lossy(name);
        let raw = fdio::stat_at(&part.fd, name).at(&shown)?;
        let raw = raw.ok_or_else(|| errno(Errno::NOENT, &shown))?;
        if let Some(known) = self.known(part, raw.inode()) {
            return Ok(known);
        }
        let raw = part.owners.truth_of_name(&*part.fd, name, raw);
        let raw = raw.at(&shown)?;
        let stat = metadata::stat_of_name(part.owners, &*part.fd, name, &raw).at(&shown)?;
        let data = match stat.kind {
            FileKind::File if stat.size > 0 => {
                Some(File::from(fdio::open_data(&part.fd, name).at(&shown)?))
            }
            _ => None,
        };
        let digest = content::file(&stat, data.as_ref(), self.cancel)?;
        self.remember(part, raw.inode(), digest);
        Ok(digest)
    }

    pub(super) fn file_of_entry(&self, entry: &Entry) -> Result<Digest, SnapshotError> {
        let (part, name) = entry.holder()?;
        self.file(part, name)
    }
}

/// Names a digest that is known once everything is flushed.
#[derive(Clone, Copy)]
pub(super) struct Slot(usize);

/// Files that wait for being hashed, and the digests of those that were.
pub(super) struct Batch<'a> {
    context: &'a Context<'a>,
    waiting: Vec<(Part, Vec<u8>)>,
    digests: Vec<Digest>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            waiting: Vec::new(),
            digests: Vec::new(),
        }
    }

    /// Adds a file; returns where its digest will be.
    pub(super) fn add(&mut self, part: &Part, name: Vec<u8>) -> Result<Slot, SnapshotError> {
        if self.waiting.len() >= BATCH_FILES {
            self.flush()?;
        }
        self.waiting.push((part.clone(), name));
        Ok(Slot(self.digests.len() + self.waiting.len() - 1))
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let waiting = std::mem::take(&mut self.waiting);
        let hash = |(part, name): &(Part, Vec<u8>)| self.context.file(part, name);
        let digests: Vec<Digest> = waiting.par_iter().map(hash).collect::<Result<_, _>>()?;
        self.digests.extend(digests);
        Ok(())
    }

    /// Hashes what is left.
    pub(super) fn finish(mut self) -> Result<Hashed, SnapshotError> {
        self.flush()?;
        Ok(Hashed(self.digests))
    }
}

/// The digests of all files that were added.
pub(super) struct Hashed(Vec<Digest>);

impl Hashed {
    pub(super) fn get(&self, slot: Slot) -> Digest {
        self.0[slot.0]
    }
}
