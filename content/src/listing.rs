//! What blobs there are.

use lamina_types::Digest;
use lamina_types::IoContext;

use crate::ContentError;
use crate::ContentStore;

impl ContentStore {
    /// Returns digests and lengths of all blobs, in no particular order. One that vanishes while the
    /// folder is read is left out.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let folder = self.dir().join("blobs/sha256");
        let mut blobs = Vec::new();
        for item in std::fs::read_dir(&folder).at(folder.display())? {
            let item = item.at(folder.display())?;
            let name = item.file_name();
            let digest = name
                .to_str()
                .and_then(|hex| format!("sha256:{hex}").parse().ok());
            if let (Some(digest), Ok(metadata)) = (digest, item.metadata()) {
                blobs.push((digest, metadata.len()));
            }
        }
        Ok(blobs)
    }
}
