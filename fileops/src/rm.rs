//! Removal (row FIL-22).

use lamina_snapshotter::Follow;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::FileOpError;
use crate::action::RmAction;
use crate::target::Target;
use crate::target::failed;
use crate::wildcards::matches;

/// Removes what the action names; a pattern that matches nothing is no error.
pub(crate) fn run(
    action: &RmAction,
    target: &Target,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    let path = RootedPath::new(&action.path);
    let paths = match action.allow_wildcard {
        true => matches(&target.tree, &path, Follow::Parents, cancel)?,
        false => vec![path],
    };
    for path in paths {
        cancel.check()?;
        remove(&path, action.allow_not_found, target, cancel)?;
    }
    Ok(())
}

fn remove(
    path: &RootedPath,
    allow_not_found: bool,
    target: &Target,
    cancel: &CancelToken,
) -> Result<(), FileOpError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FileOpError::RemoveRoot);
    };
    let parent = target.resolve(&parent)?;
    let place = parent.join(name);
    if !allow_not_found {
        // A symlink that leads nowhere counts as not found.
        match target.tree.lookup(&place, Follow::Last) {
            Err(error) if error.is_not_found() => return Err(failed("stat", &place)(error)),
            _ => {}
        }
    }
    let dir = target.upper.dir(&parent);
    let removed = dir.and_then(|dir| dir.remove_while(name, cancel));
    match removed {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map_err(failed("unlinkat", &place)),
    }
}
