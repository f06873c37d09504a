//! Directories on their own (row FIL-21).

use lamina_types::RootedPath;

use crate::FileOpError;
use crate::action::MkDirAction;
use crate::dirs::DirectoryMaker;
use crate::owner;
use crate::target::Target;
use crate::target::failed;

/// Makes a directory; whatever exists at the path is left as it is, unless parents are asked for and
/// it is no directory.
pub(crate) fn run(action: &MkDirAction, target: &Target) -> Result<(), FileOpError> {
    let owner = owner::resolve(action.owner.as_ref())?;
    let mut maker = DirectoryMaker::new(action.mode & 0o777, owner, action.timestamp);
    let path = target.resolve(&RootedPath::new(&action.path))?;
    if action.make_parents {
        maker.make_all(target, &path)?;
    } else if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let failed = failed("mkdir", &path);
        let parent = target.upper.dir(&parent).map_err(&failed)?;
        if parent.lookup(name).map_err(&failed)?.is_none() {
            maker.make(&parent, name).map_err(&failed)?;
        }
    }
    maker.finish()
}
