//! A file system in memory: names, inodes, and how paths lead from one to the other.
//!
//! It holds no more than random steps can see. What calls do is in `calls`; here is what they work on,
//! and how the result is compared with a real tree.

use std::collections::BTreeMap;

use lamina_types::FileKind;
use rustix::io::Errno;
use rustix::io::Result;

use crate::support::picture::Node;
use crate::support::picture::Picture;
use crate::support::steps::ATTRIBUTE;

/// Where an inode is kept.
pub(super) type Id = usize;

pub(super) const ROOT: Id = 0;

/// More symbolic links in one path are a loop, for the kernel.
const MAX_SYMLINKS: usize = 40;

/// In what a file system may differ from others without being wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// As messages name it.
    pub(super) name: &'static str,
    /// It is the kernel's overlayfs, which leaves some things to programs by design.
    pub(super) overlay: bool,
    /// Root is that of the machine: there are other users, and writing keeps set-user-id bits.
    pub(super) real_root: bool,
    pub(super) umask: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Directory(BTreeMap<String, Id>),
    File(Vec<u8>),
    Symlink(&'static str),
    Fifo,
}

/// Where an inode comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A call since the last [`Model::begin_layer`].
    New,
    /// Before that.
    Lower,
    /// Before that, but the file has been changed since.
    CopiedUp,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Not known after a call has set it to the time of the call.
    pub(super) mtime_ns: Option<i128>,
    pub(super) attribute: Option<&'static str>,
    pub(super) origin: Origin,
}

impl Inode {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    fn kind(&self) -> FileKind {
        match self.content {
            Content::Directory(_) => FileKind::Directory,
            Content::File(_) => FileKind::File,
            Content::Symlink(_) => FileKind::Symlink,
            Content::Fifo => FileKind::Fifo,
        }
    }

    fn picture(&self) -> Node {
        let (target, data) = match &self.content {
            Content::Symlink(target) => (target.as_bytes(), &[][..]),
            Content::File(data) => (&[][..], data.as_slice()),
            Content::Directory(_) | Content::Fifo => (&[][..], &[][..]),
        };
        let attribute = self.attribute.map(|value| (ATTRIBUTE.into(), value.into()));
        Node {
            kind: self.kind(),
            mode: self.mode,
            owner: self.owner,
            mtime_ns: self.mtime_ns.unwrap_or_default(),
            target: target.to_vec(),
            data: data.to_vec(),
            xattrs: attribute.into_iter().collect(),
        }
    }
}

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Last {
    Follow,
    Stay,
}

/// Where a path leads: a name in a directory, and what has it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: Id,
    pub(super) name: String,
    pub(super) found: Option<Id>,
}

impl Place {
    pub(super) fn existing(&self) -> Result<Id> {
        self.found.ok_or(Errno::NOENT)
    }

    pub(super) fn is_same_name(&self, other: &Self) -> bool {
        self.dir == other.dir && self.name == other.name
    }
}

/// A tree in memory.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) inodes: Vec<Inode>,
    pub(super) rules: Rules,
}

impl Model {
    /// Starts with an empty directory of mode 0755.
    pub(super) fn new(rules: Rules) -> Self {
        let mut model = Self {
            inodes: Vec::new(),
            rules,
        };
        model.add(Content::Directory(BTreeMap::new()), 0o755, (0, 0));
        model
    }

    /// Declares all that there is to be in lower layers from now on.
    pub(super) fn begin_layer(&mut self, rules: Rules) {
        self.rules = rules;
        for inode in &mut self.inodes {
            inode.origin = Origin::Lower;
        }
    }

    pub(super) fn add(&mut self, content: Content, mode: u32, owner: (u32, u32)) -> Id {
        self.inodes.push(Inode {
            content,
            mode,
            owner,
            mtime_ns: None,
            attribute: None,
            origin: Origin::New,
        });
        self.inodes.len() - 1
    }

    /// Returns the entries of a directory.
    pub(super) fn entries(&self, dir: Id) -> Result<&BTreeMap<String, Id>> {
        match &self.inodes[dir].content {
            Content::Directory(entries) => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Gives a name of a directory to another file, or to none.
    pub(super) fn set_entry(&mut self, dir: Id, name: &str, id: Option<Id>) {
        let Content::Directory(entries) = &mut self.inodes[dir].content else {
            panic!("walks end in directories");
        };
        match id {
            Some(id) => entries.insert(name.to_owned(), id),
            None => entries.remove(name),
        };
        self.inodes[dir].mtime_ns = None;
    }

    /// Finds where `path` leads.
    pub(super) fn walk(&self, path: &str, last: Last) -> Result<Place> {
        let mut left: Vec<&str> = path.rsplit('/').collect();
        let (mut dir, mut links) = (ROOT, 0);
        loop {
            let name = left.pop().ok_or(Errno::NOENT)?;
            let found = match name {
                "." => Some(dir),
                name => self.entries(dir)?.get(name).copied(),
            };
            if let Some(Content::Symlink(target)) = found.map(|id| &self.inodes[id].content)
                && (last == Last::Follow || !left.is_empty())
            {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(Errno::LOOP);
                }
                left.extend(target.rsplit('/'));
            } else if left.is_empty() {
                let name = name.to_owned();
                return Ok(Place { dir, name, found });
            } else {
                dir = found.ok_or(Errno::NOENT)?;
                self.entries(dir)?;
            }
        }
    }

    /// Returns all paths in order, the root first as "/".
    pub(super) fn paths(&self) -> BTreeMap<String, Id> {
        let mut paths = BTreeMap::from([("/".to_owned(), ROOT)]);
        let mut left = vec![(String::new(), ROOT)];
        while let Some((above, dir)) = left.pop() {
            for (name, id) in self.entries(dir).into_iter().flatten() {
                let path = format!("{above}/{name}");
                if self.inodes[*id].is_dir() {
                    left.push((path.clone(), *id));
                }
                paths.insert(path, *id);
            }
        }
        paths
    }

    /// Says whether `dir` is `other` or is somewhere above it.
    pub(super) fn is_above(&self, dir: Id, other: Id) -> bool {
        dir == other
            || self
                .entries(dir)
                .is_ok_and(|entries| entries.values().any(|id| self.is_above(*id, other)))
    }

    /// Returns how many names a file has.
    pub(super) fn links(&self, id: Id) -> usize {
        self.paths().values().filter(|other| **other == id).count()
    }

    /// Takes over times that nobody can foretell; the next layer must keep them.
    pub(super) fn learn_times(&mut self, shown: &Picture) {
        for (path, id) in self.paths() {
            let known = &mut self.inodes[id].mtime_ns;
            *known = known.or_else(|| Some(shown.get(&path)?.mtime_ns));
        }
    }

    /// Returns what there is, to be compared.
    pub(super) fn picture(&self) -> Picture {
        let paths = self.paths().into_iter();
        paths
            .map(|(path, id)| (path, self.inodes[id].picture()))
            .collect()
    }
}
