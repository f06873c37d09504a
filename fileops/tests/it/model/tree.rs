//! The trees of the model: whole paths in one map.

use std::collections::BTreeMap;
use std::io::Write;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Tree;
use lamina_types::FileKind;
use lamina_types::RootedPath;

/// The most symlinks that one path may lead through.
const MAX_LINKS: usize = 255;

/// The model refuses the operation; why is for the table to say.
#[derive(Debug)]
pub(super) struct Refused;

/// What a path holds, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) content: Content,
    /// Nothing for symlinks.
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Seconds since 1970; `None` if it is the time of the operation.
    pub(super) time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Dir,
    File(String),
    Link(String),
}

/// Paths without a leading `/`; every parent is there and is a directory. The root has no path.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(pub(super) BTreeMap<String, Node>);

impl Node {
    pub(super) fn is_dir(&self) -> bool {
        self.content == Content::Dir
    }
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

pub(super) fn join(dir: &str, name: &str) -> String {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => dir.to_owned(),
        _ => format!("{dir}/{name}"),
    }
}

impl Files {
    /// Returns what is at `path`; the root is a directory of root's.
    pub(super) fn get(&self, path: &str) -> Option<Node> {
        let root = || Node {
            content: Content::Dir,
            mode: 0o755,
            owner: (0, 0),
            time: None,
        };
        match path.is_empty() {
            true => Some(root()),
            false => self.0.get(path).cloned(),
        }
    }

    /// Returns where `path` leads; what is missing is kept, and so is a link at the end unless `follow`.
    pub(super) fn resolve(&self, path: &str, follow: bool) -> Result<String, Refused> {
        let words = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (mut left, mut reached, mut links) = (words(path), String::new(), 0);
        while !left.is_empty() {
            let word = left.remove(0);
            let next = match word.as_str() {
                "" | "." => continue,
                ".." => parent(&reached).to_owned(),
                name => join(&reached, name),
            };
            let at_end = left.iter().all(|word| word.is_empty() || word == ".");
            match self.get(&next).map(|node| node.content) {
                Some(Content::Link(target)) if word != ".." && (follow || !at_end) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Refused);
                    }
                    if target.starts_with('/') {
                        reached.clear();
                    }
                    left.splice(0..0, words(&target));
                }
                _ => reached = next,
            }
        }
        Ok(reached)
    }

    /// Returns what is at the resolved `path`, if every parent is a directory.
    pub(super) fn find(&self, path: &str) -> Option<Node> {
        let below_dirs = path.match_indices('/').all(|(at, _)| {
            let dir = self.get(&path[..at]);
            dir.is_some_and(|node| node.is_dir())
        });
        self.get(path).filter(|_| below_dirs)
    }

    pub(super) fn put(&mut self, path: &str, node: Node) {
        self.0.insert(path.to_owned(), node);
        self.touch(parent(path));
    }

    pub(super) fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0
            .retain(|known, _| known != path && !known.starts_with(&below));
        self.touch(parent(path));
    }

    /// A name came or went in the directory `path`.
    fn touch(&mut self, path: &str) {
        if let Some(dir) = self.0.get_mut(path) {
            dir.time = None;
        }
    }

    /// Says where `found` is not what this says; times of the operation may be any.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        let mut found = found.clone();
        for (path, node) in &self.0 {
            if let (None, Some(other)) = (node.time, found.0.get_mut(path)) {
                other.time = None;
            }
        }
        (self.0 != found.0).then(|| format!("wanted {:#?}\nfound {:#?}", self.0, found.0))
    }

    /// Writes the tree to an empty layer.
    pub(super) fn write(&self, layer: &ActiveLayer) {
        let upper = layer.writer();
        let place = |path: &str| {
            let dir = upper.dir(&RootedPath::new(parent(path))).expect(path);
            (dir, name(path).as_bytes().to_vec())
        };
        for (path, node) in &self.0 {
            let (dir, name) = place(path);
            match &node.content {
                Content::Dir => drop(dir.make_dir(&name, 0o755).expect(path)),
                Content::Link(target) => dir.symlink(&name, target.as_bytes()).expect(path),
                Content::File(data) => {
                    let mut file = dir.create_file(&name, 0o644).expect(path);
                    file.write_all(data.as_bytes()).expect(path);
                }
            }
        }
        for (path, node) in self.0.iter().rev() {
            let (dir, name) = place(path);
            let is_link = matches!(node.content, Content::Link(_));
            let change = MetadataChange {
                owner: Some(node.owner),
                mode: (!is_link).then_some(node.mode),
                mtime_ns: node.time.map(|time| i128::from(time) * 1_000_000_000),
                xattrs: None,
            };
            dir.set_metadata(&name, &change).expect(path);
        }
    }

    /// Reads a tree back.
    pub(super) fn read(tree: &Tree) -> Self {
        let mut files = Self::default();
        files.collect(&tree.root().expect("root"));
        files
    }

    fn collect(&mut self, dir: &Entry) {
        for name in dir.read_dir().expect("directory") {
            let entry = dir.child(&name).expect("child");
            let path = entry.path().to_string()[1..].to_owned();
            self.0.insert(path, node(&entry));
            if entry.stat().is_dir() {
                self.collect(&entry);
            }
        }
    }
}

fn node(entry: &Entry) -> Node {
    let stat = entry.stat();
    let content = match stat.kind {
        FileKind::Directory => Content::Dir,
        FileKind::Symlink => Content::Link(String::from_utf8_lossy(&stat.link_target).into_owned()),
        _ => Content::File(std::io::read_to_string(entry.open().expect("data")).expect("data")),
    };
    Node {
        mode: if matches!(content, Content::Link(_)) {
            0
        } else {
            stat.mode
        },
        content,
        owner: (stat.uid, stat.gid),
        time: i64::try_from(stat.mtime_ns.div_euclid(1_000_000_000)).ok(),
    }
}
