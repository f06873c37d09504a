//! Who a step runs as (row EXC-04).

use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_snapshotter::users;
use lamina_snapshotter::users::Entries;
use lamina_snapshotter::users::GroupEntry;
use lamina_snapshotter::users::Numbers;
use lamina_snapshotter::users::PasswdEntry;

use crate::ExecError;
use crate::wire::Identity;

/// An entry, or why the rest could not be read.
type Read<T> = Result<T, SnapshotError>;

/// The highest id that a name-less user or group may have, as in Docker.
const MAX_ID: u32 = i32::MAX as u32;

/// Means "leave it as it is" to the kernel: such a user would stay root.
const UNCHANGED: u32 = u32::MAX;

/// Looks `user` up in the image's passwd and group files.
///
/// Empty means root, whatever the files say. `uid:gid` needs no files and has no supplementary
/// groups; neither has anything with an explicit group.
pub(crate) fn look_up(tree: &Tree, user: &str) -> Result<Identity, ExecError> {
    let found = find(tree, user)?;
    check(found.uid, found.gid)?;
    match found.groups.contains(&UNCHANGED) {
        true => Err(ExecError::IdOutOfRange),
        false => Ok(found),
    }
}

/// Refuses an owner whom nothing can be given to.
pub(crate) fn check(uid: u32, gid: u32) -> Result<(), ExecError> {
    match uid == UNCHANGED || gid == UNCHANGED {
        true => Err(ExecError::IdOutOfRange),
        false => Ok(()),
    }
}

fn find(tree: &Tree, user: &str) -> Result<Identity, ExecError> {
    if let Some((uid, gid)) = both_numeric(user) {
        return Ok(identity(uid, gid, Vec::new()));
    }
    let user = if user.is_empty() { "0" } else { user };
    select(user, passwd(tree)?, groups(tree)?)
}

/// Returns the home directory of `uid`, `/` if it has none (as runc sets HOME).
pub(crate) fn home(tree: &Tree, uid: u32) -> String {
    let entry = passwd(tree).and_then(|entries| users::first(entries, |entry| entry.uid == uid));
    let home = entry.ok().flatten().map(|entry| entry.home);
    home.filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}

fn passwd(tree: &Tree) -> Result<impl Iterator<Item = Read<PasswdEntry>>, SnapshotError> {
    or_empty(users::passwd(tree, Numbers::Strict))
}

fn groups(tree: &Tree) -> Result<impl Iterator<Item = Read<GroupEntry>>, SnapshotError> {
    or_empty(users::groups(tree, Numbers::Strict))
}

fn or_empty<T>(
    entries: Result<Entries<T>, SnapshotError>,
) -> Result<impl Iterator<Item = Read<T>>, SnapshotError> {
    let entries = match entries {
        Err(error) if error.is_not_found() => None,
        entries => Some(entries?),
    };
    Ok(entries.into_iter().flatten())
}

fn both_numeric(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':')?;
    Some((numeric_or_root(uid)?, numeric_or_root(gid)?))
}

fn numeric_or_root(text: &str) -> Option<u32> {
    if text == "root" {
        Some(0)
    } else {
        decimal(text)
    }
}

/// Parses digits only: no sign, no space.
fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn select(
    user: &str,
    passwd: impl Iterator<Item = Read<PasswdEntry>>,
    groups: impl Iterator<Item = Read<GroupEntry>>,
) -> Result<Identity, ExecError> {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let entry = users::first(passwd, |entry| match decimal(name) {
        Some(uid) => entry.uid == uid,
        None => entry.name == if name.is_empty() { "root" } else { name },
    })?;
    let (uid, gid) = match &entry {
        Some(entry) => (entry.uid, entry.gid),
        None if name.is_empty() => (0, 0),
        None if is_number(name) => (in_range(name)?, 0),
        None => return Err(ExecError::UnknownUser(name.to_owned())),
    };
    if group.is_empty() {
        let member = entry.map(|entry| entry.name);
        let groups = memberships(member.as_deref(), groups)?;
        return Ok(identity(uid, gid, groups));
    }
    Ok(identity(uid, select_group(group, groups)?, Vec::new()))
}

fn memberships(
    member: Option<&str>,
    groups: impl Iterator<Item = Read<GroupEntry>>,
) -> Result<Vec<u32>, SnapshotError> {
    let Some(member) = member else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for group in groups {
        let group = group?;
        if group.members.iter().any(|name| name == member) {
            found.push(group.gid);
        }
    }
    Ok(found)
}

fn select_group(
    group: &str,
    groups: impl Iterator<Item = Read<GroupEntry>>,
) -> Result<u32, ExecError> {
    if is_number(group) {
        return in_range(group);
    }
    let found = users::first(groups, |entry| entry.name == group)?;
    found
        .map(|entry| entry.gid)
        .ok_or_else(|| ExecError::UnknownGroup(group.to_owned()))
}

fn in_range(text: &str) -> Result<u32, ExecError> {
    decimal(text)
        .filter(|id| *id <= MAX_ID)
        .ok_or(ExecError::IdOutOfRange)
}

/// Adds the primary group to the supplementary ones, as BuildKit does.
fn identity(uid: u32, gid: u32, mut groups: Vec<u32>) -> Identity {
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Identity { uid, gid, groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwd() -> impl Iterator<Item = Read<PasswdEntry>> {
        let users = [("root", 0, 0), ("app", 1000, 1001), ("7", 70, 71)];
        users.into_iter().map(|(name, uid, gid)| {
            Ok(PasswdEntry {
                name: name.to_owned(),
                uid,
                gid,
                home: format!("/home/{name}"),
            })
        })
    }

    fn groups() -> impl Iterator<Item = Read<GroupEntry>> {
        [
            ("root", 0, ""),
            ("app", 1001, ""),
            ("wheel", 10, "root,app"),
            ("video", 44, "app"),
        ]
        .into_iter()
        .map(|(name, gid, members)| {
            Ok(GroupEntry {
                name: name.to_owned(),
                gid,
                members: members.split(',').map(str::to_owned).collect(),
            })
        })
    }

    /// `uid gid group,group` or the error.
    fn shown(user: &str) -> String {
        match select(user, passwd(), groups()) {
            Ok(id) => format!("{} {} {:?}", id.uid, id.gid, id.groups),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        for (name, user, expected) in [
            ("root by name", "root", "0 0 [0, 10]"),
            ("name", "app", "1000 1001 [1001, 10, 44]"),
            ("number with entry", "1000", "1000 1001 [1001, 10, 44]"),
            ("number without entry", "4242", "4242 0 [0]"),
            ("a number never matches a name", "7", "7 0 [0]"),
            (
                "explicit group drops memberships",
                "app:video",
                "1000 44 [44]",
            ),
            ("explicit number group", "app:4242", "1000 4242 [4242]"),
            ("empty user with group", ":wheel", "0 10 [10]"),
            (
                "unknown user",
                "nobody9",
                "unable to find user nobody9: no matching entries in passwd file",
            ),
            (
                "unknown group",
                "app:nogrp9",
                "unable to find group nogrp9: no matching entries in group file",
            ),
            (
                "too large",
                "2147483648",
                "uids and gids must be in range 0-2147483647",
            ),
            (
                "negative",
                "-1",
                "unable to find user -1: no matching entries in passwd file",
            ),
        ] {
            assert_eq!(shown(user), expected, "{name}");
        }
    }

    #[test]
    fn two_numbers_need_no_files() {
        for (user, expected) in [
            ("1:2", Some((1, 2))),
            ("root:root", Some((0, 0))),
            ("4294967295:0", Some((4_294_967_295, 0))),
            ("1", None),
            ("a:1", None),
            ("+1:1", None),
        ] {
            assert_eq!(both_numeric(user), expected, "{user}");
        }
    }
}
