//! Users and groups, by number or by name (row FIL-05).

use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_snapshotter::users;
use lamina_snapshotter::users::Entries;
use lamina_snapshotter::users::Numbers;

use crate::FileOpError;
use crate::action::Owner;
use crate::action::UserRef;

/// Returns the numbers that `owner` stands for; `None` if there is none.
///
/// A user also gives the group: by name the one in `/etc/passwd`, by number the same number. A name
/// that is not found, or a tree without the file, is 0; odd numbers are read as [`Numbers::Loose`] says.
pub(crate) fn resolve(owner: Option<&Owner>) -> Result<Option<(u32, u32)>, FileOpError> {
    let Some(owner) = owner else {
        return Ok(None);
    };
    let (uid, primary) = match &owner.user {
        None => (0, 0),
        Some(UserRef::Id(id)) => (*id, *id),
        Some(UserRef::Name { name, tree }) => user(tree, name)?.unwrap_or_default(),
    };
    let gid = match &owner.group {
        None => primary,
        Some(UserRef::Id(id)) => *id,
        Some(UserRef::Name { name, tree }) => group(tree, name)?.unwrap_or(primary),
    };
    Ok(Some((uid, gid)))
}

fn user(tree: &Tree, name: &str) -> Result<Option<(u32, u32)>, FileOpError> {
    let found = find(users::passwd(tree, Numbers::Loose), |user| {
        user.name == name
    })?;
    Ok(found.map(|user| (user.uid, user.gid)))
}

fn group(tree: &Tree, name: &str) -> Result<Option<u32>, FileOpError> {
    let found = find(users::groups(tree, Numbers::Loose), |group| {
        group.name == name
    })?;
    Ok(found.map(|group| group.gid))
}

/// Returns the first entry that `is_it`. A file that is not there is one without entries.
fn find<T>(
    read: Result<Entries<T>, SnapshotError>,
    is_it: impl Fn(&T) -> bool,
) -> Result<Option<T>, FileOpError> {
    match read {
        Err(error) if error.is_not_found() || is_not_directory(&error) => Ok(None),
        entries => Ok(users::first(entries?, is_it)?),
    }
}

fn is_not_directory(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Io(path) if path.source.kind() == std::io::ErrorKind::NotADirectory)
}
