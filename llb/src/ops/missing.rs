//! Why a path is missing: the component that is at fault.

use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::Tree;
use lamina_types::RootedPath;

/// Returns why `path` is not in `tree`, if something stands in its way or differs only in case.
///
/// Reads the directory that lacks the name; an error there is no reason.
pub(super) fn reason(tree: &Tree, path: &RootedPath) -> Option<String> {
    let mut dir = tree.root().ok()?;
    let mut reached = RootedPath::root();
    for name in path.components() {
        if !dir.stat().is_dir() {
            return Some(format!("{reached} is not a directory"));
        }
        let next = reached.join(name);
        match tree.lookup(&next, Follow::Last) {
            Ok(entry) => (dir, reached) = (entry, next),
            Err(_) => return other_entry(&dir, &reached, name),
        }
    }
    None
}

/// Names the entry of `dir` that is called `name` and leads nowhere, or is called so in other letters.
fn other_entry(dir: &Entry, path: &RootedPath, name: &[u8]) -> Option<String> {
    let fold = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    let wanted = fold(name);
    let names = dir.read_dir().ok()?;
    let exact = names.iter().find(|found| *found == name);
    let found = exact.or_else(|| names.iter().find(|found| fold(found) == wanted))?;
    let place = path.join(found);
    Some(if found == name {
        format!("{place} is a symbolic link that leads nowhere")
    } else {
        format!("there is {place}")
    })
}
