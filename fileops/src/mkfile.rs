//! Files with given data (row FIL-20).

use std::fs::File;
use std::io::Write;

use lamina_snapshotter::Entry;
use lamina_snapshotter::MetadataChange;
use lamina_types::FileKind;
use lamina_types::IoContext;
use rustix::io::Errno;

use crate::FileOpError;
use crate::action::MkFileAction;
use crate::inherit::Inherited;
use crate::owner;
use crate::target::Place;
use crate::target::Target;
use crate::target::failed;

/// The attribute that gives a program powers; new data must not inherit it.
const CAPABILITY: &[u8] = b"security.capability";

/// Writes a file.
///
/// An existing one is replaced by a new inode, never written in place, since its data may be shared
/// with a sealed layer; it keeps its mode, its owner and its attributes, and its directory the time
/// that it has, since no name came or went.
pub(crate) fn run(action: &MkFileAction, target: &Target) -> Result<(), FileOpError> {
    let owner = owner::resolve(action.owner.as_ref())?;
    let place = target.place(&action.path, "open", Errno::ISDIR)?;
    let failed = failed("open", &place.path);
    let existing = place.dir.lookup(&place.name).map_err(&failed)?;
    let unchanged_mtime_ns = match existing {
        Some(_) => Some(place.dir.entry().map_err(&failed)?.stat().mtime_ns),
        None => None,
    };
    let mut change = match existing {
        Some(existing) => displace(&existing, &place)?,
        None => MetadataChange {
            owner: Inherited::from(&place.dir).map_err(&failed)?.owner(None),
            mode: Some(action.mode & 0o777),
            ..MetadataChange::default()
        },
    };
    if let Some(owner) = owner {
        change.owner = Some(owner);
        // As the kernel does when a program is given to somebody else.
        change.mode = change.mode.map(|mode| mode & 0o1777);
    }
    change.mtime_ns = action.timestamp.map(i128::from);
    let file = write(&place, &action.data)?;
    let described = place.dir.set_file_metadata(&file, &change);
    described.map_err(&failed)?;
    match unchanged_mtime_ns {
        Some(mtime_ns) => place.dir.restore_own_mtime(mtime_ns).map_err(&failed),
        None => Ok(()),
    }
}

/// Makes the file and writes what it holds.
fn write(place: &Place, data: &[u8]) -> Result<File, FileOpError> {
    let file = place.dir.create_file(&place.name, 0o600);
    let mut file = file.map_err(failed("open", &place.path))?;
    match file.write_all(data).at(&place.path) {
        Ok(()) => Ok(file),
        Err(source) => Err(FileOpError::Io {
            operation: "write",
            source,
        }),
    }
}

/// Removes the file that is there and returns what the new one takes over from it.
fn displace(existing: &Entry, place: &Place) -> Result<MetadataChange, FileOpError> {
    let stat = existing.stat();
    match stat.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(FileOpError::system("open", &place.path, Errno::ISDIR)),
        _ => {
            return Err(FileOpError::NotRegular {
                path: place.path.to_string(),
            });
        }
    }
    place
        .dir
        .remove(&place.name)
        .map_err(failed("open", &place.path))?;
    let mut xattrs = stat.xattrs.clone();
    xattrs.remove(CAPABILITY);
    Ok(MetadataChange {
        owner: Some((stat.uid, stat.gid)),
        mode: Some(stat.mode),
        mtime_ns: None,
        xattrs: (!xattrs.is_empty()).then_some(xattrs),
    })
}
