//! Many files of one directory linked into another.
//!
//! A copy that changes nothing about a file need not know its owner, mode, time or attributes, only
//! that it is one and has no other name in its layer. The layer says the latter once for all of its
//! files, so what is left for each is one `statx` and one `linkat`.

use lamina_types::FileKind;
use lamina_types::IoContext;

use super::WriteDir;
use super::create::Linked;
use crate::Owners;
use crate::SnapshotError;
use crate::fdio;
use crate::fdio::RawStat;
use crate::store::Layer;
use crate::tree::Entry;
use crate::tree::Part;

/// Links files of one directory of a view into another directory; see [`WriteDir::linker`].
pub struct Linker {
    to: WriteDir,
    /// The directories that merge, topmost first, and of each the layer if its files may be linked.
    from: Vec<(Part, Option<Layer>)>,
}

impl WriteDir {
    /// Returns what links files of the directory `from` into this one.
    ///
    /// # Errors
    /// `ENOTDIR` if `from` is not a directory.
    pub fn linker(&self, from: &Entry) -> Result<Linker, SnapshotError> {
        let parts = from.parts()?.iter();
        Ok(Linker {
            to: self.clone(),
            from: parts
                .map(|part| (part.clone(), self.linkable_layer(part)))
                .collect(),
        })
    }

    fn linkable_layer(&self, part: &Part) -> Option<Layer> {
        let layer = self.upper().store().layer(part.layer()?)?;
        let may_link = part.owners == Owners::Real
            && part.has_single_names()
            && self.upper().links().may_link_any(&layer);
        may_link.then_some(layer)
    }
}

impl Linker {
    /// Makes `name` a further name of the file that has this name, as [`WriteDir::link_from`] does; says
    /// whether it did. If not, it is no regular file, or one that has to be looked at first.
    ///
    /// # Errors
    /// As [`WriteDir::link_from`].
    pub fn link(&self, name: &[u8]) -> Result<bool, SnapshotError> {
        self.link_if(name, |_| true)
    }

    /// As [`Linker::link`], for a file that has `size` bytes, and for no other.
    ///
    /// # Errors
    /// As [`WriteDir::link_from`].
    pub fn link_of_size(&self, name: &[u8], size: u64) -> Result<bool, SnapshotError> {
        self.link_if(name, |raw| raw.size() == size)
    }

    fn link_if(
        &self,
        name: &[u8],
        is_meant: impl Fn(&RawStat) -> bool,
    ) -> Result<bool, SnapshotError> {
        for (part, layer) in &self.from {
            let found = fdio::stat_at(&part.fd, name).at(self.to.path())?;
            match (found, layer) {
                (None, _) => {}
                (Some(raw), Some(layer)) if raw.kind() == FileKind::File && is_meant(&raw) => {
                    let source = Linked::Name(&part.fd, name);
                    self.to.link_sealed(name, &source, raw.inode(), layer)?;
                    return Ok(true);
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}
