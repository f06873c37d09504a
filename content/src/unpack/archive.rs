//! Archives that ADD and COPY unpack (row FIL-12).

use std::fs::File;
use std::io::BufReader;
use std::io::Read;
use std::io::Seek;

use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::extract::Extractor;
use super::extract::Rules;
use super::limits::ArchiveLimits;
use super::limits::Meter;
use crate::ContentError;
use crate::archive::Entry;
use crate::archive::EntryKind;
use crate::archive::TarReader;
use crate::compression::decoder;
use crate::compression::decoder_on_all_cores;
use crate::compression::read_ahead;

/// What is said of an archive beside its bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct ArchiveOptions {
    /// The owner of all entries, whatever they say.
    pub owner: Option<(u32, u32)>,
    /// How much the archive may become.
    pub limits: ArchiveLimits,
}

/// Unpacks a tar (plain, gzip, bzip2, xz, zstd) into `dest` by Docker's rules: `dest` is a root
/// that nothing leaves, whiteouts are ordinary files, the owner of the options overrides those of
/// entries but not of parents that are missing in the archive (0755, root).
///
/// One thread undoes the compression, or several where the format is made for it; small files are written
/// by all threads of the pool that this is called on.
///
/// Returns `false`, with nothing done and `source` at its start, if it is not an archive: its
/// first header cannot be read.
///
/// # Errors
/// If the archive is damaged behind its first header, or an entry cannot be made. Entries are refused
/// by name if they, or the targets of their hard links, are absolute or lead out of the archive, if
/// they go through a symlink that leads out of it, if they are devices and the process may not make
/// those, and once the archive becomes more than its limits allow. What was made before stays.
pub fn unpack_archive(
    source: &mut File,
    dest: &WriteDir,
    options: &ArchiveOptions,
    cancel: &CancelToken,
) -> Result<bool, ContentError> {
    let recognised = is_archive(source)?;
    source.rewind().at("archive")?;
    if !recognised {
        return Ok(false);
    }
    let meter = Meter::new(options.limits, source.metadata().at("archive")?.len());
    let source = &*source;
    let open = || decoder_on_all_cores(BufReader::with_capacity(1 << 18, source));
    let unpacked = read_ahead(open, |bytes| {
        let extractor = Extractor::new(dest.clone(), Rules::Archive, cancel);
        let tar = TarReader::new(meter.bounded(bytes));
        unpack(tar, extractor, meter, options.owner)
    });
    unpacked.at("archive")??;
    Ok(true)
}

fn unpack<R: Read>(
    mut tar: TarReader<R>,
    mut extractor: Extractor<'_>,
    mut meter: Meter,
    owner: Option<(u32, u32)>,
) -> Result<(), ContentError> {
    while let Some(mut entry) = tar.next_entry()? {
        extractor.check_cancel()?;
        meter.admit(&entry, tar.stored_bytes())?;
        check_names(&entry)?;
        if let Some((uid, gid)) = owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some((place, name)) = extractor.place(&entry.path)? {
            extractor.make(&entry, &place, &name, &mut tar)?;
        }
    }
    extractor.finish()
}

/// Refuses names that mean something outside of the archive.
fn check_names(entry: &Entry) -> Result<(), ContentError> {
    let refused =
        |what: &str, how: &str| Err(ContentError::entry(&entry.path, format!("{what} {how}")));
    match outside(&entry.path) {
        Some(how) => refused("the name", how),
        None if entry.kind != EntryKind::HardLink => Ok(()),
        None => match outside(&entry.link) {
            Some(how) => refused("the target of the hard link", how),
            None => Ok(()),
        },
    }
}

/// Says how a name leaves the archive, if it does.
fn outside(name: &[u8]) -> Option<&'static str> {
    if name.starts_with(b"/") {
        return Some("is absolute");
    }
    let mut depth = 0_usize;
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return Some("leads out of the archive"),
            },
            _ => depth += 1,
        }
    }
    None
}

/// Says whether `source` is a tar (plain or compressed) that [`unpack_archive`] would unpack: whether
/// its first header can be read, even if it is of a kind that cannot be unpacked. Leaves the position anywhere.
///
/// # Errors
/// If `source` cannot be read from its start.
pub fn is_archive(source: &mut File) -> Result<bool, ContentError> {
    source.rewind().at("archive")?;
    let Ok(stream) = decoder(BufReader::new(source)) else {
        return Ok(false);
    };
    Ok(TarReader::new(stream).is_tar())
}
