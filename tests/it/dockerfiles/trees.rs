//! File trees, as the tar exporter gives them and as the data describes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use lamina_types::Digest;
use serde_json::Value;
use serde_json::json;

/// Rows of the data by their paths.
pub(crate) type Tree = BTreeMap<String, Value>;

/// Reads the tree of an exported tar as the data describes trees.
pub(crate) fn tree(path: &Path) -> Tree {
    let mut archive = tar::Archive::new(fs::File::open(path).expect("exported"));
    let mut tree = Tree::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = format!("/{}", name.trim_start_matches("./").trim_matches('/'));
        if name == "/" {
            continue;
        }
        let row = describe(&name, &mut entry);
        tree.insert(name, row);
    }
    tree
}

fn describe(name: &str, entry: &mut tar::Entry<'_, fs::File>) -> Value {
    let header = entry.header().clone();
    let link = entry
        .link_name_bytes()
        .map(|link| String::from_utf8_lossy(&link).into_owned());
    let mut row = json!({
        "path": name,
        "mode": format!("{:04o}", header.mode().expect("a mode") & 0o7777),
        "uid": header.uid().expect("a uid"),
        "gid": header.gid().expect("a gid"),
    });
    let kind = header.entry_type();
    let name = match kind {
        tar::EntryType::Directory => "dir",
        tar::EntryType::Symlink => "symlink",
        tar::EntryType::Link => "hardlink",
        tar::EntryType::Fifo => "fifo",
        tar::EntryType::Char => "char",
        tar::EntryType::Block => "block",
        _ => "file",
    };
    row["type"] = name.into();
    match kind {
        tar::EntryType::Symlink => row["link"] = link.expect("a target").into(),
        tar::EntryType::Link => {
            let first = link.expect("a first name");
            row["link"] = format!("/{}", first.trim_start_matches('/')).into();
        }
        tar::EntryType::Regular => {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("data");
            if data.is_empty() {
                return row;
            }
            row["size"] = data.len().into();
            match String::from_utf8(data) {
                Ok(text) if text.len() <= 60 => row["data"] = text.into(),
                Ok(text) => row["sha256"] = Digest::of(text.as_bytes()).hex().into(),
                Err(error) => row["sha256"] = Digest::of(error.as_bytes()).hex().into(),
            }
        }
        _ => {}
    }
    row
}

/// Returns the part of a tree that is the result for `platform`, where there are several.
pub(crate) fn of_platform(whole: &Tree, platform: &str) -> Tree {
    let top = format!("/{}/", platform.replace('/', "_"));
    let inside = |path: &str| Some(format!("/{}", path.strip_prefix(&top)?));
    let row = |(path, row): (&String, &Value)| {
        let (path, mut row) = (inside(path)?, row.clone());
        row["path"] = path.clone().into();
        if row["type"] == "hardlink" {
            row["link"] = row["link"].as_str().and_then(inside).into();
        }
        Some((path, row))
    };
    whole.iter().filter_map(row).collect()
}

/// Returns what of `tree` differs from `base`, in the form of the data.
pub(crate) fn difference(base: &Tree, tree: &Tree) -> Tree {
    let mut rows: Tree = tree
        .iter()
        .filter(|(path, row)| base.get(*path) != Some(row))
        .map(cloned)
        .collect();
    for path in base.keys().filter(|path| !tree.contains_key(*path)) {
        rows.insert(path.clone(), json!({"path": path, "removed": true}));
    }
    rows
}

fn cloned<'a>((key, value): (&'a String, &'a Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// Says in what the trees differ, if they do.
pub(crate) fn compare_trees(expected: &Value, found: &Tree) -> Result<(), String> {
    let mut found = found.clone();
    for row in expected.as_array().into_iter().flatten() {
        let path = row["path"].as_str().expect("a path");
        let mut ours = found.remove(path).unwrap_or(Value::Null);
        let mut theirs = row.clone();
        if theirs["opaque"] == true {
            for side in [&mut ours, &mut theirs] {
                for field in ["opaque", "size", "data", "sha256"] {
                    side.as_object_mut().map(|fields| fields.remove(field));
                }
            }
        }
        if ours != theirs {
            return Err(format!("tree: expected {theirs}, found {ours}"));
        }
    }
    match found.into_values().next() {
        Some(extra) => Err(format!("tree: not expected: {extra}")),
        None => Ok(()),
    }
}
