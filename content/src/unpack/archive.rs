//! Archives that ADD and COPY unpack (row FIL-12).

use std::fs::File;
use std::io::BufReader;
use std::io::Seek;

use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::extract::Extractor;
use super::extract::Rules;
use crate::ContentError;
use crate::archive::TarReader;
use crate::compression::decoder;

/// Unpacks a tar (plain, gzip, bzip2, xz, zstd) into `dest` by Docker's rules: `dest` is a root
/// that nothing leaves, whiteouts are ordinary files, `owner` overrides the owners of entries but
/// not of parents that are missing in the archive (0755, root).
///
/// Returns `false`, with nothing done and `source` at its start, if it is not an archive: its
/// first header cannot be read.
///
/// # Errors
/// If the archive is damaged behind its first header, or an entry cannot be made. What was made
/// before stays.
pub fn unpack_archive(
    source: &mut File,
    dest: &WriteDir,
    owner: Option<(u32, u32)>,
    cancel: &CancelToken,
) -> Result<bool, ContentError> {
    let recognised = is_archive(source)?;
    source.rewind().at("archive")?;
    if !recognised {
        return Ok(false);
    }
    let input = BufReader::with_capacity(1 << 18, source);
    let mut tar = TarReader::new(decoder(input).at("archive")?);
    let mut extractor = Extractor::new(dest.clone(), Rules::Archive, cancel);
    while let Some(mut entry) = tar.next_entry()? {
        cancel.check()?;
        if let Some((uid, gid)) = owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some((place, name)) = extractor.place(&entry.path)? {
            extractor.make(&entry, &place, &name, &mut tar)?;
        }
    }
    extractor.finish()?;
    Ok(true)
}

/// Says whether `source` is a tar (plain or compressed) that [`unpack_archive`] would unpack: whether
/// its first header can be read. Leaves the position anywhere.
///
/// # Errors
/// If `source` cannot be read from its start.
pub fn is_archive(source: &mut File) -> Result<bool, ContentError> {
    source.rewind().at("archive")?;
    let Ok(stream) = decoder(BufReader::new(source)) else {
        return Ok(false);
    };
    Ok(matches!(TarReader::new(stream).next_entry(), Ok(Some(_))))
}
