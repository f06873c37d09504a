//! Trees as text, one file or directory a line:
//!
//! ```text
//! path kind mode owner:group seconds [content] [user.name=hex ..]
//! path link other-path
//! ```
//!
//! The content is a file's data (in `/etc` with a line break at its end), a symlink's target or a
//! device's numbers.

use std::collections::BTreeMap;
use std::io::Write;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::WriteDir;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;
use serde_json::Value;
use serde_json::json;

/// What a path holds.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds since 1970; `None` for the time of the operation.
    pub(crate) time: Option<i64>,
    pub(crate) content: String,
    pub(crate) xattrs: BTreeMap<String, String>,
    /// The first name, in path order, of a file that has several.
    pub(crate) first: Option<String>,
}

/// A tree: what each path below the root holds.
#[derive(Clone)]
pub(crate) struct World(pub(crate) BTreeMap<String, Node>);

/// Reads a file of the table.
pub(crate) fn text(name: &str) -> String {
    let path = format!("{}/tests/table/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).expect(&path)
}

/// Parses `user:group`.
pub(crate) fn owner(text: &str) -> (u32, u32) {
    let (user, group) = text.split_once(':').expect(text);
    (user.parse().expect(text), group.parse().expect(text))
}

impl Node {
    /// Something new of root's that has no data.
    pub(crate) fn new(kind: &'static str, mode: u32) -> Self {
        Self {
            kind,
            mode,
            owner: (0, 0),
            time: None,
            content: String::new(),
            xattrs: BTreeMap::new(),
            first: None,
        }
    }

    fn parse(line: &str) -> (String, Self) {
        let mut words = line.split_whitespace();
        let mut next = || words.next().expect(line);
        let (path, kind) = (next().to_owned(), kind(next()));
        if kind == "hardlink" {
            let first = Some(next().to_owned());
            let node = Self::new(kind, 0);
            return (path, Self { first, ..node });
        }
        let mode = u32::from_str_radix(next(), 8).expect(line);
        let (owner, time) = (owner(next()), next().parse().expect(line));
        let (xattrs, data): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with("user."));
        let end = if path.starts_with("/etc/") { "\n" } else { "" };
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').expect(line);
            (name.to_owned(), value.to_owned())
        };
        let node = Self {
            owner,
            time: Some(time),
            content: data.join(" ") + end,
            xattrs: xattrs.into_iter().map(pair).collect(),
            ..Self::new(kind, mode)
        };
        (path, node)
    }

    fn stat(&self) -> Stat {
        let kind = match self.kind {
            "fifo" => FileKind::Fifo,
            "char" => FileKind::CharDevice,
            _ => FileKind::BlockDevice,
        };
        let mut stat = Stat::new(kind, self.mode);
        if let Some((major, minor)) = self.content.split_once(':') {
            stat.device.major = major.parse().expect("a number");
            stat.device.minor = minor.parse().expect("a number");
        }
        stat
    }

    fn change(&self) -> MetadataChange {
        let pair = |(name, value): (&String, &String)| (name.clone().into_bytes(), from_hex(value));
        MetadataChange {
            owner: Some(self.owner),
            mode: (self.kind != "symlink").then_some(self.mode),
            mtime_ns: self.time.map(|time| i128::from(time) * 1_000_000_000),
            xattrs: Some(self.xattrs.iter().map(pair).collect()),
        }
    }

    /// In the form of the golden data.
    fn row(&self, path: &str) -> Value {
        let mut row = json!({
            "path": path,
            "type": self.kind,
            "mode": format!("{:04o}", self.mode),
            "uid": self.owner.0,
            "gid": self.owner.1,
            "mtime": self.time.map_or("now".to_owned(), |time| time.to_string()),
        });
        if let Some(first) = &self.first {
            row["type"] = json!("hardlink");
            row["link"] = json!(first.trim_start_matches('/'));
            return row;
        }
        match self.kind {
            "file" => {
                row["size"] = json!(self.content.len());
                row["data"] = json!(self.content);
            }
            "symlink" => row["link"] = json!(self.content),
            "char" | "block" => row["dev"] = json!(self.content),
            _ => {}
        }
        if !self.xattrs.is_empty() {
            row["xattrs"] = json!(self.xattrs);
        }
        row
    }
}

impl World {
    /// Reads a tree from a file of the table.
    pub(crate) fn load(name: &str) -> Self {
        let text = text(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut nodes: BTreeMap<String, Node> = lines.map(Node::parse).collect();
        let links: Vec<_> = nodes
            .iter()
            .filter_map(|(path, node)| Some((path.clone(), node.first.clone()?)))
            .collect();
        for (path, first) in links {
            let node = nodes[&first].clone();
            let first = Some(first);
            nodes.insert(path, Node { first, ..node });
        }
        Self(nodes)
    }

    /// Writes the tree to an empty layer.
    pub(crate) fn write(&self, layer: &ActiveLayer) {
        let upper = layer.writer();
        let place = |path: &str| {
            let path = RootedPath::new(path);
            let parent = path.parent().expect("a parent");
            let name = path.file_name().expect("a name").to_vec();
            (upper.dir(&parent).expect("a directory"), name)
        };
        for (path, node) in &self.0 {
            let (dir, name) = place(path);
            match &node.first {
                Some(first) => {
                    let tree = layer.tree();
                    let first = tree.lookup(&RootedPath::new(first), Follow::Parents);
                    dir.link_from(&name, &first.expect(path)).expect(path);
                }
                None => make(&dir, &name, node),
            }
        }
        // Directories last, so that nothing touches them any more.
        for (path, node) in self.0.iter().rev() {
            let (dir, name) = place(path);
            dir.set_metadata(&name, &node.change()).expect(path);
        }
    }

    /// All rows, in the form of the golden data.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.0.iter().map(|(path, node)| node.row(path)).collect()
    }
}

fn make(dir: &WriteDir, name: &[u8], node: &Node) {
    match node.kind {
        "dir" => drop(dir.make_dir(name, 0o700).expect("a directory")),
        "symlink" => dir
            .symlink(name, node.content.as_bytes())
            .expect("a symlink"),
        "file" => {
            let mut file = dir.create_file(name, 0o600).expect("a file");
            file.write_all(node.content.as_bytes()).expect("data");
        }
        _ => dir.make_node(name, &node.stat()).expect("a node"),
    }
}

fn kind(text: &str) -> &'static str {
    match text {
        "dir" => "dir",
        "file" => "file",
        "symlink" => "symlink",
        "fifo" => "fifo",
        "char" => "char",
        "block" => "block",
        "link" => "hardlink",
        other => panic!("no kind of file: {other}"),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect(text);
    (0..text.len()).step_by(2).map(digit).collect()
}
