//! Keeping the digests of files that are written or copied.

use std::fs::File;

use lamina_types::IoContext;

use super::WriteDir;
use crate::FileDigester;
use crate::MetadataChange;
use crate::SnapshotError;
use crate::digest;
use crate::metadata;
use crate::tree::Entry;

impl WriteDir {
    /// As [`WriteDir::set_file_metadata`], for a file whose data is complete; the layer keeps the digest
    /// if `digester` was told the truth. To be called last: what changes the file afterwards must not
    /// go through `file`.
    ///
    /// # Errors
    /// As [`WriteDir::set_file_metadata`].
    pub fn finish_file(
        &self,
        file: &File,
        change: &MetadataChange,
        digester: FileDigester,
    ) -> Result<(), SnapshotError> {
        self.set_file_metadata(file, change)?;
        let (raw, stat) = metadata::stat_of_opened(self.upper().owners(), file).at(self.path())?;
        if let Some(digest) = digester.finish(&stat) {
            self.upper().written().note(&raw, digest);
        }
        Ok(())
    }

    /// Takes over what is known of the digest of `source`, of which `file` is a complete copy by now:
    /// it is good for both if they also have the same metadata. To be called last, as
    /// [`WriteDir::finish_file`]; costs next to nothing where no digest is known.
    ///
    /// # Errors
    /// What the host's file system says.
    pub fn take_over_digest(&self, file: &File, source: &Entry) -> Result<(), SnapshotError> {
        let origin = source.origin();
        let layer = self.upper().source_of(&origin);
        let Some(digest) = layer.and_then(|layer| layer.digests().get(origin.inode)) else {
            return Ok(());
        };
        let (raw, stat) = metadata::stat_of_opened(self.upper().owners(), file).at(self.path())?;
        if digest::counts_alike(&stat, source.stat()) {
            self.upper().written().note(&raw, digest);
        }
        Ok(())
    }
}
