//! Archives that are unpacked instead of copied (row FIL-12).

use lamina_content::ArchiveOptions;
use lamina_content::ContentError;
use lamina_content::is_archive;
use lamina_content::unpack_archive;
use lamina_snapshotter::Entry;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;

use crate::FileOpError;

/// Unpacks `archive` into the directory that `destination` makes, if it is a regular file that
/// holds a tar in any known compression; says whether it did. If not, nothing is made.
pub(crate) fn run(
    archive: &Entry,
    destination: impl FnOnce() -> Result<WriteDir, FileOpError>,
    owner: Option<(u32, u32)>,
    cancel: &CancelToken,
) -> Result<bool, FileOpError> {
    if archive.stat().kind != FileKind::File {
        return Ok(false);
    }
    let failed = |source| match source {
        ContentError::Cancelled(cancelled) => FileOpError::Cancelled(cancelled),
        source => FileOpError::Unpack {
            path: archive.path().to_string(),
            source,
        },
    };
    let mut file = archive.open()?;
    if !is_archive(&mut file).map_err(failed)? {
        return Ok(false);
    }
    let options = ArchiveOptions {
        owner,
        ..ArchiveOptions::default()
    };
    unpack_archive(&mut file, &destination()?, &options, cancel).map_err(failed)
}
