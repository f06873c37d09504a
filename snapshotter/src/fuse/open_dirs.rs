//! Descriptors of directories.
//!
//! Each directory that the kernel holds has one descriptor for every layer that it merges. The kernel
//! may hold very many, so only those that were used lately stay open; the others remember in which layers
//! they are and are opened again, by name in the directory above, when they are needed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Resource;

use super::node::Node;
use super::node::Place;
use super::overlay::Overlay;
use crate::fdio;
use crate::tree::Part;

/// The share of the process's descriptors that one mount uses for directories.
const SHARE: u64 = 16;

/// At least and at most so many descriptors; directories in use at the moment come on top.
const BOUNDS: (u64, u64) = (64, 16 << 10);

/// Directories that are open, in the order in which they were opened.
pub(super) struct OpenDirs {
    queue: Mutex<Queue>,
    budget: usize,
}

#[derive(Default)]
struct Queue {
    dirs: VecDeque<(Weak<Node>, usize)>,
    descriptors: usize,
}

impl Default for OpenDirs {
    fn default() -> Self {
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let share = limit.unwrap_or(u64::MAX) / SHARE;
        Self::with_budget(usize::try_from(share.clamp(BOUNDS.0, BOUNDS.1)).unwrap_or(64))
    }
}

impl OpenDirs {
    fn with_budget(budget: usize) -> Self {
        Self {
            queue: Mutex::default(),
            budget,
        }
    }

    /// Notes a directory that was opened, and closes others if there are too many. One that was used
    /// since it was opened gets a second chance.
    pub(super) fn note(&self, node: &Arc<Node>) {
        let added = node.descriptors();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.dirs.push_back((Arc::downgrade(node), added));
        queue.descriptors += added;
        let mut chances = queue.dirs.len();
        while queue.descriptors > self.budget && chances > 0 {
            chances -= 1;
            let Some((dir, descriptors)) = queue.dirs.pop_front() else {
                break;
            };
            match dir.upgrade().filter(|dir| !Arc::ptr_eq(dir, node)) {
                Some(dir) if dir.take_used() => {
                    queue.dirs.push_back((Arc::downgrade(&dir), descriptors))
                }
                Some(dir) => {
                    queue.descriptors -= descriptors;
                    dir.close_dir();
                }
                None if Weak::ptr_eq(&dir, &Arc::downgrade(node)) => {
                    queue.dirs.push_back((dir, descriptors));
                }
                None => queue.descriptors -= descriptors,
            }
        }
    }
}

impl Overlay {
    /// Returns the directories that merge at `node`, topmost first, opening them if need be.
    pub(super) fn parts(&self, node: &Arc<Node>) -> Result<Arc<[Part]>> {
        if let Some(parts) = node.open_parts()? {
            return Ok(parts);
        }
        let mut closed = Vec::new();
        let mut at = Arc::clone(node);
        let mut above = loop {
            if let Some(parts) = at.open_parts()? {
                break parts;
            }
            let name = at.any_name()?;
            let parent = self.table.get(name.parent)?;
            closed.push((at, name.name));
            at = parent;
        };
        while let Some((node, name)) = closed.pop() {
            above = self.open_again(&node, &name, &above)?;
        }
        Ok(above)
    }

    fn open_again(&self, node: &Arc<Node>, name: &[u8], above: &[Part]) -> Result<Arc<[Part]>> {
        let Place::Closed(layers) = node.place() else {
            return node.open_parts()?.ok_or(Errno::NOENT);
        };
        let mut parts = Vec::with_capacity(layers.len());
        for layer in layers.iter() {
            let mut candidates = above.iter();
            let part = candidates.find(|part| part.layer() == *layer);
            let part = part.ok_or(Errno::STALE)?;
            parts.push(part.with_fd(fdio::open_dir(&part.fd, name)?));
        }
        let parts = node.reopen_dir(&layers, parts.into())?;
        self.open_dirs.note(node);
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use lamina_types::CancelToken;
    use lamina_types::FileKind;

    use super::*;
    use crate::ActiveLayer;
    use crate::LayerStack;
    use crate::XattrNamespace;
    use crate::fuse::OverlayFs;
    use crate::fuse::numbers::ROOT;
    use crate::store::SnapshotStore;

    fn dir(ino: u64) -> Arc<Node> {
        let fd = fdio::open_dir(rustix::fs::CWD, b".").unwrap();
        let part = Part::upper(Arc::new(fd), XattrNamespace::User.into());
        let place = Place::Directory(Arc::new([part]));
        Arc::new(Node::new(ino, FileKind::Directory, Vec::new(), place))
    }

    #[test]
    fn only_those_used_lately_stay_open() {
        let open_dirs = OpenDirs::with_budget(3);
        let dirs: Vec<Arc<Node>> = (2..8).map(dir).collect();
        for node in &dirs {
            open_dirs.note(node);
            // The first one is always in use.
            assert!(dirs[0].open_parts().unwrap().is_some());
        }
        let open: Vec<u64> = dirs
            .iter()
            .filter(|node| node.descriptors() > 0)
            .map(|node| node.ino)
            .collect();
        assert_eq!(open.len(), 3, "{open:?}");
        assert!(open.contains(&2) && open.contains(&7), "{open:?}");
        drop(dirs);
        (10..20).for_each(|ino| open_dirs.note(&dir(ino)));
        let queue = open_dirs.queue.lock().unwrap();
        assert!(queue.descriptors <= 4 && queue.dirs.len() <= 4);
    }

    /// Makes an overlay on two layers that merge in `dir`, each with a file of its own.
    fn overlay(store: &SnapshotStore) -> (ActiveLayer, Arc<Overlay>) {
        let mut stack = LayerStack::empty();
        for name in ["low", "high"] {
            let active = store.prepare(&stack).unwrap();
            let root = active.writer().root().unwrap();
            let dir = match root.open_dir(b"dir") {
                Ok(dir) => dir,
                Err(_) => root.make_dir(b"dir", 0o755).unwrap(),
            };
            dir.create_file(name.as_bytes(), 0o644).unwrap();
            drop((dir, root));
            stack = stack.push(active.commit(&CancelToken::new()).unwrap());
        }
        let active = store.prepare(&stack).unwrap();
        drop(active.begin_mount().unwrap());
        let fs = OverlayFs::of_active(&active).unwrap();
        (active, fs.0)
    }

    #[test]
    fn a_closed_directory_is_opened_where_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&folder.path().join("layers"), XattrNamespace::User);
        let store = store.unwrap();
        let (_active, overlay) = overlay(&store);
        let root = overlay.table.get(ROOT).unwrap();
        let (dir, _) = overlay.lookup(&root, b"dir").unwrap().unwrap();
        let layers = |parts: &[Part]| parts.iter().map(Part::layer).collect::<Vec<_>>();
        let before = layers(&overlay.parts(&dir).unwrap());
        assert_eq!(before.len(), 2);
        dir.close_dir();
        assert_eq!(dir.descriptors(), 0);
        assert_eq!(layers(&overlay.parts(&dir).unwrap()), before);
        dir.close_dir();
        let change = overlay.change().unwrap();
        overlay.ensure_upper(&dir, change.writable).unwrap();
        dir.close_dir();
        let merged = overlay.parts(&dir).unwrap();
        assert_eq!(layers(&merged)[1..], before);
        let names = crate::tree::read_merged(&merged).unwrap();
        assert_eq!(names, [b"high".to_vec(), b"low".to_vec()]);
        root.close_dir();
        assert!(
            root.descriptors() > 0,
            "the root has no name to be found by"
        );
    }
}
