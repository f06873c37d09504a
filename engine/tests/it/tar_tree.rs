//! An exported tar as the golden data writes trees.

use std::collections::BTreeMap;
use std::io::Read;

use lamina_types::Digest;
use serde::Deserialize;
use tar::Archive;
use tar::EntryType;

/// One entry of a tree; absent fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) mode: String,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
    pub(crate) data: String,
    pub(crate) link: String,
    pub(crate) dev: String,
    pub(crate) xattrs: BTreeMap<String, String>,
    /// Seconds since 1970, or `now`.
    pub(crate) mtime: String,
}

/// Reads a tar; data longer than `inline_bytes` is given as its digest.
pub(crate) fn read(bytes: &[u8], inline_bytes: usize) -> Vec<Entry> {
    let mut archive = Archive::new(bytes);
    let entries = archive.entries().expect("a tar");
    let entries = entries.map(|entry| read_entry(entry.expect("an entry"), inline_bytes));
    entries.filter(|entry| entry.path != "/").collect()
}

fn read_entry(mut entry: tar::Entry<'_, &[u8]>, inline_bytes: usize) -> Entry {
    let xattrs = xattrs(&mut entry);
    let long_time = long_time(&mut entry);
    let mut data = Vec::new();
    entry.read_to_end(&mut data).expect("data");
    let header = entry.header();
    let kind = kind(header.entry_type());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let device = || {
        let number = |n: std::io::Result<Option<u32>>| n.expect("a number").unwrap_or_default();
        format!(
            "{}:{}",
            number(header.device_major()),
            number(header.device_minor())
        )
    };
    Entry {
        path: rooted(&text(&entry.path_bytes())),
        kind: kind.to_owned(),
        mode: format!("{:04o}", header.mode().expect("a mode") & 0o7777),
        uid: header.uid().expect("a uid"),
        gid: header.gid().expect("a gid"),
        size: data.len() as u64,
        link: entry
            .link_name_bytes()
            .map(|link| text(&link))
            .unwrap_or_default(),
        dev: if matches!(kind, "char" | "block") {
            device()
        } else {
            String::new()
        },
        xattrs,
        mtime: long_time.unwrap_or_else(|| header.mtime().expect("a time").to_string()),
        data: match std::str::from_utf8(&data) {
            Ok(text) if data.len() <= inline_bytes => text.to_owned(),
            _ => Digest::of(&data).to_string(),
        },
    }
}

fn rooted(path: &str) -> String {
    format!("/{}", path.trim_start_matches("./").trim_matches('/'))
}

fn kind(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Link => "hardlink",
        EntryType::Fifo => "fifo",
        EntryType::Char => "char",
        EntryType::Block => "block",
        _ => "file",
    }
}

/// Returns the seconds of a time that does not fit into the header.
fn long_time(entry: &mut tar::Entry<'_, &[u8]>) -> Option<String> {
    let extensions = entry.pax_extensions().expect("extensions")?;
    let mut extensions = extensions.map(|extension| extension.expect("an extension"));
    let time = extensions.find(|extension| extension.key() == Ok("mtime"))?;
    let time: f64 = time.value().expect("text").parse().expect("a number");
    Some(format!("{}", time.floor()))
}

fn xattrs(entry: &mut tar::Entry<'_, &[u8]>) -> BTreeMap<String, String> {
    const PREFIX: &str = "SCHILY.xattr.";
    let Some(extensions) = entry.pax_extensions().expect("extensions") else {
        return BTreeMap::new();
    };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let xattr = |extension: tar::PaxExtension<'_>| {
        let name = extension.key().ok()?.strip_prefix(PREFIX)?.to_owned();
        Some((name, hex(extension.value_bytes())))
    };
    extensions
        .filter_map(|extension| xattr(extension.expect("an extension")))
        .collect()
}
