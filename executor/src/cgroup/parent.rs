//! Where in a tree the group of a step goes (row EXC-09).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use lamina_types::RootedPath;

use super::tree::Hierarchy;
use super::vacate::ASIDE;

/// Group between a caller's parent and the step, named as BuildKit names it.
const BELOW_PARENT: &str = "buildkit";

/// Lists directories in which the group may be made, best first.
///
/// `parent` comes from a build: it is cleaned first, so it never leads out of the tree.
pub(super) fn candidates(hierarchy: &Hierarchy, parent: &str, ours: &str) -> Vec<PathBuf> {
    let top = RootedPath::root();
    if !parent.is_empty() {
        return vec![host_path(hierarchy, &named(parent))];
    }
    let own = own_group(hierarchy);
    let mut dirs = vec![host_path(hierarchy, &top.join(ours))];
    if !own.is_root() {
        dirs.push(host_path(hierarchy, &own.join(ours)));
    }
    dirs
}

/// Returns the directory of the group that this process is in, or was before it moved aside.
pub(super) fn own_dir(hierarchy: &Hierarchy) -> PathBuf {
    host_path(hierarchy, &own_group(hierarchy))
}

fn own_group(hierarchy: &Hierarchy) -> RootedPath {
    let own = &hierarchy.own;
    let own = RootedPath::new(own.strip_prefix(&hierarchy.shown).unwrap_or(own));
    match (own.file_name() == Some(ASIDE.as_bytes()), own.parent()) {
        (true, Some(above)) => above,
        _ => own,
    }
}

/// Translates a caller's parent: a path, or `a-b.slice:` in systemd's form.
fn named(parent: &str) -> RootedPath {
    match parent.strip_suffix(':') {
        Some(slice) if slice.contains(".slice") => slice_path(slice),
        _ => RootedPath::new(parent).join(BELOW_PARENT),
    }
}

/// Expands a slice as systemd does: `a-b.slice` lies in `a.slice`.
fn slice_path(slice: &str) -> RootedPath {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = RootedPath::root();
    let mut prefix = String::new();
    for part in name.split('-').filter(|part| !part.is_empty()) {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path = path.join(format!("{prefix}.slice"));
    }
    path
}

fn host_path(hierarchy: &Hierarchy, path: &RootedPath) -> PathBuf {
    hierarchy
        .mount_point
        .join(OsStr::from_bytes(path.relative()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Version;

    #[test]
    fn parents_stay_in_the_tree() {
        let hierarchy = Hierarchy {
            version: Version::Two,
            mount_point: "/cg".into(),
            shown: "/".into(),
            controllers: Vec::new(),
            own: "/user/me".into(),
        };
        for (name, parent, expected) in [
            ("default", "", &["/cg/lamina", "/cg/user/me/lamina"][..]),
            ("path", "/limits/a", &["/cg/limits/a/buildkit"]),
            ("escape", "../../etc", &["/cg/etc/buildkit"]),
            ("slice", "a-b.slice:", &["/cg/a.slice/a-b.slice"]),
            ("escaping slice", "../x.slice:", &["/cg/x.slice"]),
        ] {
            let found = candidates(&hierarchy, parent, "lamina");
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
