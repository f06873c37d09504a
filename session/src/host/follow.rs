//! Follow paths: names whose symlinks are wanted together with what they lead to (row SRC-11).
//!
//! A Dockerfile that copies `link` needs the link and its target. Each component of a path that is a
//! symlink joins the result, and the search goes on at its target, which is taken as being inside
//! the directory whatever it says. The last component may have wildcards.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::RootedPath;
use rustix::io::Errno;

use super as host;

/// Returns include patterns for `paths` and all that their symlinks lead to; `None` if one of them
/// is the whole directory.
pub(super) fn follow(root: &OwnedFd, paths: &[String]) -> Result<Option<Vec<String>>, PathError> {
    let mut resolver = Resolver {
        root,
        resolved: BTreeSet::new(),
        pending: paths.iter().rev().map(RootedPath::new).collect(),
    };
    while let Some(path) = resolver.pending.pop() {
        resolver.resolve(&path)?;
    }
    Ok(without_nested(&resolver.resolved))
}

struct Resolver<'a> {
    root: &'a OwnedFd,
    resolved: BTreeSet<RootedPath>,
    pending: Vec<RootedPath>,
}

impl Resolver<'_> {
    fn resolve(&mut self, path: &RootedPath) -> Result<(), PathError> {
        let mut current = RootedPath::root();
        let mut rest = path.components();
        while let Some(name) = rest.next() {
            current = current.join(name);
            let targets = self.targets(&current)?;
            if targets.is_empty() {
                continue;
            }
            if !self.resolved.insert(current) {
                return Ok(());
            }
            let mut tail = Vec::new();
            for name in rest {
                tail.push(b'/');
                tail.extend_from_slice(name);
            }
            let onward = targets.iter().map(|target| target.join(&tail));
            self.pending.extend(onward);
            return Ok(());
        }
        self.resolved.insert(current);
        Ok(())
    }

    /// Returns where `path`, or what it matches, leads to; nothing if it is no symlink.
    fn targets(&self, path: &RootedPath) -> Result<Vec<RootedPath>, PathError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Vec::new());
        };
        let dir = match host::open_below(self.root, parent.relative()) {
            Err(error) if is_nothing(error) => return Ok(Vec::new()),
            opened => opened.at(&parent)?,
        };
        let names = match Wildcard::new(name) {
            Ok(wildcard) if is_wildcard(name) => {
                let mut names = host::names(&dir).at(&parent)?;
                names.retain(|name| wildcard.matches(name));
                names
            }
            _ => vec![name.to_vec()],
        };
        let mut targets = Vec::new();
        for name in names {
            targets.extend(target(&dir, &parent, &name)?);
        }
        Ok(targets)
    }
}

/// A path through something that is missing, or no directory, names nothing.
fn is_nothing(error: Errno) -> bool {
    host::is_gone(error) || matches!(error, Errno::LOOP | Errno::NAMETOOLONG)
}

fn target(
    dir: &OwnedFd,
    parent: &RootedPath,
    name: &[u8],
) -> Result<Option<RootedPath>, PathError> {
    let path = parent.join(name);
    let found = match host::look(dir, name) {
        Err(error) if is_nothing(error) => return Ok(None),
        found => found.at(&path)?,
    };
    if found.kind != FileKind::Symlink {
        return Ok(None);
    }
    let text = host::symlink_target(dir, name).at(&path)?;
    Ok(Some(if text.starts_with(b"/") {
        RootedPath::new(text)
    } else {
        parent.join(text)
    }))
}

/// Leaves out what lies below another path.
fn without_nested(paths: &BTreeSet<RootedPath>) -> Option<Vec<String>> {
    if paths.iter().any(RootedPath::is_root) {
        return None;
    }
    let outermost = paths.iter().filter(|path| {
        !paths
            .iter()
            .any(|other| other != *path && path.starts_with(other))
    });
    let text = |path: &RootedPath| String::from_utf8_lossy(path.relative()).into_owned();
    Some(outermost.map(text).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        fs::create_dir_all(root.join("real/sub")).expect("made");
        fs::write(root.join("real/sub/file"), "").expect("written");
        for (link, target) in [
            ("dirlink", "real"),
            ("abs", "/real/sub/file"),
            ("up", "../../real"),
            ("chain", "dirlink/sub"),
            ("dangling", "nowhere/at/all"),
            ("loop1", "loop2"),
            ("loop2", "loop1"),
            ("self", "self"),
            ("lib-a", "real/sub"),
            ("lib-b", "real/sub/file"),
            ("root", "/"),
        ] {
            symlink(target, root.join(link)).expect("linked");
        }
        let fd = host::open_root(root).expect("opens");
        for (path, wanted) in [
            ("real/sub", Some(vec!["real/sub"])),
            ("missing", Some(vec!["missing"])),
            ("real/sub/file/x", Some(vec!["real/sub/file/x"])),
            ("dirlink", Some(vec!["dirlink", "real"])),
            ("dirlink/sub", Some(vec!["dirlink", "real/sub"])),
            ("abs", Some(vec!["abs", "real/sub/file"])),
            ("up/sub", Some(vec!["real/sub", "up"])),
            (
                "chain/file",
                Some(vec!["chain", "dirlink", "real/sub/file"]),
            ),
            ("dangling", Some(vec!["dangling", "nowhere/at/all"])),
            ("loop1", Some(vec!["loop1", "loop2"])),
            ("self/x", Some(vec!["self"])),
            ("lib-*", Some(vec!["lib-*", "real/sub"])),
            ("/abs", Some(vec!["abs", "real/sub/file"])),
            ("root", None),
            (".", None),
            ("", None),
        ] {
            let found = follow(&fd, &[path.to_owned()]).expect(path);
            let wanted = wanted.map(|w| w.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, wanted, "{path}");
        }
    }
}
