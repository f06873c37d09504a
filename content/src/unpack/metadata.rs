//! What an entry of an archive says of the file that was made for it.

use std::collections::BTreeMap;
use std::fs::File;

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::FileKind;
use rustix::io::Errno;

use super::extract::Rules;
use crate::ContentError;
use crate::archive::Entry;
use crate::archive::EntryKind;

/// Sets owner, attributes, mode and time of `made`, in this order.
pub(super) fn set_metadata(
    rules: Rules,
    entry: &Entry,
    made: &Made<'_>,
) -> Result<(), ContentError> {
    let is_link = entry.kind == EntryKind::HardLink;
    let xattrs = settable(&entry.xattrs);
    let mut change = MetadataChange {
        owner: Some((entry.uid, entry.gid)),
        mode: (entry.kind != EntryKind::Symlink).then_some(entry.mode),
        mtime_ns: Some(bounded(entry.mtime_ns)),
        xattrs: (!is_link || !xattrs.is_empty()).then_some(xattrs),
    };
    if is_link && made.is_symlink()? {
        change.mode = None;
    }
    match made.set(&change) {
        Ok(()) => return Ok(()),
        Err(error) if entry.xattrs.is_empty() => return Err(error.into()),
        Err(error) => tracing::debug!(%error, "setting extended attributes one by one"),
    }
    let wanted = change.xattrs.take().unwrap_or_default();
    change.xattrs = Some(accepted_xattrs(rules, entry, made, wanted)?);
    Ok(made.set(&change)?)
}

/// Returns those attributes that can be set, if the rule allows to lose the others.
fn accepted_xattrs(
    rules: Rules,
    entry: &Entry,
    made: &Made<'_>,
    wanted: BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ContentError> {
    let mut accepted = BTreeMap::new();
    for (key, value) in wanted {
        accepted.insert(key.clone(), value);
        let change = MetadataChange {
            xattrs: Some(accepted.clone()),
            ..MetadataChange::default()
        };
        let Err(error) = made.set(&change) else {
            continue;
        };
        let xattr = String::from_utf8_lossy(&key).into_owned();
        if !may_lose(rules, entry, &key, &error) {
            let reason = format!("extended attribute {xattr}: {error}");
            return Err(ContentError::entry(&entry.path, reason));
        }
        tracing::warn!(%xattr, %error, "extended attribute of an archive left out");
        accepted.remove(&key);
    }
    Ok(accepted)
}

fn may_lose(rules: Rules, entry: &Entry, xattr: &[u8], error: &SnapshotError) -> bool {
    let no_such_support = Errno::OPNOTSUPP.raw_os_error();
    let refused = Errno::PERM.raw_os_error();
    let plain = matches!(entry.kind, EntryKind::File | EntryKind::Directory);
    let cannot_have = xattr.starts_with(b"user.") && !plain || xattr.starts_with(b"trusted.");
    match error.errno() {
        Some(code) if code == no_such_support => true,
        Some(code) if code == refused => cannot_have || rules == Rules::Archive,
        _ => false,
    }
}

/// An entry that was just made.
pub(super) struct Made<'a> {
    pub(super) place: &'a WriteDir,
    pub(super) name: &'a [u8],
    /// Open, if it is a regular file.
    pub(super) file: Option<&'a File>,
}

impl Made<'_> {
    fn set(&self, change: &MetadataChange) -> Result<(), SnapshotError> {
        match self.file {
            Some(file) => self.place.set_file_metadata(file, change),
            None => self.place.set_metadata(self.name, change),
        }
    }

    fn is_symlink(&self) -> Result<bool, ContentError> {
        let found = self.place.lookup(self.name)?;
        Ok(found.is_some_and(|found| found.stat().kind == FileKind::Symlink))
    }
}

/// What belongs to the overlay is not an archive's to say.
fn settable(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut xattrs = xattrs.clone();
    xattrs.retain(|name, _| {
        !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
    });
    xattrs
}

/// Times before 1970 or beyond what an `i64` of nanoseconds holds become 1970, as in BuildKit.
pub(super) fn bounded(time_ns: i128) -> i128 {
    if (0..=i128::from(i64::MAX)).contains(&time_ns) {
        time_ns
    } else {
        0
    }
}
