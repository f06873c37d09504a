//! Trees as rows, in the form of the golden data.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Origin;
use lamina_snapshotter::Tree;
use lamina_types::FileKind;
use lamina_types::Sha256Hasher;
use serde_json::Value;
use serde_json::json;

/// Data up to this size is shown, larger data by its digest.
const SHOWN: usize = 40;

/// Lists everything in `tree` but its root, in path order.
pub(crate) fn rows(tree: &Tree) -> Vec<Value> {
    let mut lister = Lister::default();
    let root = tree.root().expect("root");
    lister.list(&root);
    lister.rows
}

#[derive(Default)]
struct Lister {
    rows: Vec<Value>,
    first: HashMap<Origin, String>,
}

impl Lister {
    fn list(&mut self, dir: &Entry) {
        for name in dir.read_dir().expect("directory") {
            let entry = dir.child(&name).expect("child");
            let row = self.row(&entry);
            self.rows.push(row);
            if entry.stat().is_dir() {
                self.list(&entry);
            }
        }
    }

    fn row(&mut self, entry: &Entry) -> Value {
        let stat = entry.stat();
        let path = entry.path().to_string();
        let mut row = json!({
            "path": path,
            "type": kind_name(stat.kind),
            "mode": format!("{:04o}", stat.mode),
            "uid": stat.uid,
            "gid": stat.gid,
        });
        // BuildKit's tar has no further names of symlinks.
        let may_be_linked = !matches!(stat.kind, FileKind::Directory | FileKind::Symlink);
        if may_be_linked && stat.nlink > 1 {
            let first = self
                .first
                .entry(entry.origin())
                .or_insert_with(|| path.clone());
            if *first != path {
                row["type"] = json!("hardlink");
                row["link"] = json!(first.trim_start_matches('/'));
            }
        }
        if row["type"] != "hardlink" {
            add_content(&mut row, entry);
        }
        row["mtime"] = json!(stat.mtime_ns.div_euclid(1_000_000_000).to_string());
        row
    }
}

fn add_content(row: &mut Value, entry: &Entry) {
    let stat = entry.stat();
    match stat.kind {
        FileKind::File => {
            let mut data = Vec::new();
            let mut file = entry.open().expect("data");
            file.read_to_end(&mut data).expect("data");
            row["size"] = json!(data.len());
            row["data"] = json!(shown(&data));
        }
        FileKind::Symlink => row["link"] = json!(String::from_utf8_lossy(&stat.link_target)),
        FileKind::CharDevice | FileKind::BlockDevice => {
            row["dev"] = json!(format!("{}:{}", stat.device.major, stat.device.minor));
        }
        _ => {}
    }
    if !stat.xattrs.is_empty() {
        let pairs = stat.xattrs.iter();
        let pairs = pairs.map(|(name, value)| (String::from_utf8_lossy(name).into(), hex(value)));
        row["xattrs"] = pairs.collect::<serde_json::Map<String, Value>>().into();
    }
}

fn shown(data: &[u8]) -> String {
    if data.len() > SHOWN {
        return digest(data);
    }
    String::from_utf8(data.to_vec()).unwrap_or_else(|_| digest(data))
}

fn digest(data: &[u8]) -> String {
    let mut hasher = Sha256Hasher::default();
    hasher.update(data);
    hasher.finish().to_string()
}

fn hex(bytes: &[u8]) -> Value {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    Value::String(text)
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "dir",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::CharDevice => "char",
        FileKind::BlockDevice => "block",
        FileKind::Socket => "socket",
    }
}

/// Compares a tree with the golden one; the difference as text, or `None`.
///
/// Where the golden time is `now`, a directory's may be any (a parent that an operation made has no
/// fixed time), and a file's must be later than `start`.
pub(crate) fn difference(found: &[Value], wanted: &[Value], start: i64) -> Option<String> {
    let by_path = |rows: &[Value]| -> HashMap<String, Value> {
        let pairs = rows
            .iter()
            .map(|row| (row["path"].to_string(), row.clone()));
        pairs.collect()
    };
    let (ours, theirs) = (by_path(found), by_path(wanted));
    let mut lines = Vec::new();
    for (path, want) in &theirs {
        match ours.get(path) {
            None => lines.push(format!("missing {want}")),
            Some(have) if !equal(have, want, start) => {
                lines.push(format!("differs {have}\n        {want}"));
            }
            Some(_) => {}
        }
    }
    let extra = ours.iter().filter(|(path, _)| !theirs.contains_key(*path));
    lines.extend(extra.map(|(_, row)| format!("extra   {row}")));
    lines.sort();
    (!lines.is_empty()).then(|| lines.join("\n    "))
}

fn equal(have: &Value, want: &Value, start: i64) -> bool {
    let (mut have, mut want) = (have.clone(), want.clone());
    if want["mtime"] == "now" {
        let time = have["mtime"]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok());
        if want["type"] != "dir" && time.is_none_or(|time| time < start) {
            return false;
        }
        have["mtime"] = Value::Null;
        want["mtime"] = Value::Null;
    }
    have == want
}
