//! Where mounts go: destinations cleaned, checked and ordered (row EXC-15).

use lamina_types::RootedPath;

use crate::ExecError;
use crate::StepMount;

/// Mounts that every step has; nothing may be put on or below the first two groups' places.
const RESERVED_TREES: [&str; 1] = ["/proc"];
const RESERVED: [&str; 2] = ["/", "/dev"];

/// A mount of the caller and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its index in the caller's list.
    pub(crate) index: usize,
    /// Its destination.
    pub(crate) dest: RootedPath,
}

/// Places `mounts` for a step in `cwd`: parents before children, and of several with one
/// destination the last.
pub(crate) fn place(cwd: &str, mounts: &[StepMount]) -> Result<Vec<Placed>, ExecError> {
    let dests = mounts.iter().map(|mount| mount.dest.as_str());
    place_all(cwd, dests)
}

fn place_all<'a>(
    cwd: &str,
    dests: impl Iterator<Item = &'a str>,
) -> Result<Vec<Placed>, ExecError> {
    let mut placed: Vec<Placed> = Vec::new();
    for (index, given) in dests.enumerate() {
        let dest = absolute(cwd, given);
        check(given, &dest)?;
        placed.retain(|other| other.dest != dest);
        placed.push(Placed { index, dest });
    }
    // Stable, so that equally deep mounts stay in the caller's order.
    placed.sort_by_key(|mount| mount.dest.components().count());
    Ok(placed)
}

/// Pairs each of `mounts` that is placed with its place, in the order of the places.
pub(crate) fn in_order(
    mounts: Vec<StepMount>,
    placed: Vec<Placed>,
) -> impl Iterator<Item = (StepMount, Placed)> {
    let mut mounts: Vec<Option<StepMount>> = mounts.into_iter().map(Some).collect();
    placed.into_iter().filter_map(move |place| {
        let mount = mounts.get_mut(place.index)?.take()?;
        Some((mount, place))
    })
}

/// Returns `path`, taken as relative to `cwd` unless it begins with a slash.
fn absolute(cwd: &str, path: &str) -> RootedPath {
    if path.starts_with('/') {
        RootedPath::new(path)
    } else {
        RootedPath::new(cwd).join(path)
    }
}

fn check(given: &str, dest: &RootedPath) -> Result<(), ExecError> {
    let refuse = |reason| {
        Err(ExecError::BadDestination {
            dest: given.to_owned(),
            reason,
        })
    };
    if given.contains('\0') {
        return refuse("the path contains a NUL byte");
    }
    let in_reserved = RESERVED_TREES
        .iter()
        .any(|tree| dest.starts_with(&RootedPath::new(tree)));
    if in_reserved || RESERVED.iter().any(|path| *dest == RootedPath::new(path)) {
        return refuse("the place is taken by the sandbox");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(dests: &[&str]) -> String {
        match place_all("/w", dests.iter().copied()) {
            Ok(placed) => placed
                .iter()
                .map(|mount| format!("{}:{}", mount.index, mount.dest))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn parents_come_first_and_the_last_of_repeats_counts() {
        for (name, dests, expected) in [
            ("parents first", &["/a/b", "/a"][..], "1:/a 0:/a/b"),
            ("relative to cwd", &["x", "../y"], "1:/y 0:/w/x"),
            ("repeats", &["/a", "/b", "/a/"], "1:/b 2:/a"),
            ("shm may be replaced", &["/dev/shm"], "0:/dev/shm"),
            (
                "root",
                &["/"],
                "cannot mount at /: the place is taken by the sandbox",
            ),
            (
                "dots to proc",
                &["/a/../proc/self"],
                "cannot mount at /a/../proc/self: the place is taken by the sandbox",
            ),
        ] {
            assert_eq!(shown(dests), expected, "{name}");
        }
    }
}
