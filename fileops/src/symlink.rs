//! Symlinks (row FIL-23).

use lamina_snapshotter::MetadataChange;
use rustix::io::Errno;

use crate::FileOpError;
use crate::action::SymlinkAction;
use crate::inherit::Inherited;
use crate::owner;
use crate::target::Target;
use crate::target::failed;

/// Makes a symlink; whatever exists at the path, symlinks followed, is an error.
pub(crate) fn run(action: &SymlinkAction, target: &Target) -> Result<(), FileOpError> {
    let owner = owner::resolve(action.owner.as_ref())?;
    let place = target.place(&action.path, "symlink", Errno::EXIST)?;
    let failed = failed("symlink", &place.path);
    if place.dir.lookup(&place.name).map_err(&failed)?.is_some() {
        return Err(FileOpError::system("symlink", &place.path, Errno::EXIST));
    }
    place
        .dir
        .symlink(&place.name, &action.target)
        .map_err(&failed)?;
    let change = MetadataChange {
        owner: Inherited::from(&place.dir).map_err(&failed)?.owner(owner),
        mtime_ns: action.timestamp.map(i128::from),
        ..MetadataChange::default()
    };
    place.dir.set_metadata(&place.name, &change).map_err(failed)
}
