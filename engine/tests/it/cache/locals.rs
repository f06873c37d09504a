//! The folders that builds take as local sources.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::lchown;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    data: String,
    mode: Value,
    link: String,
    uid: u32,
    gid: u32,
    mtime: Option<u64>,
    xattrs: BTreeMap<String, String>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            path: String::new(),
            kind: "file".to_owned(),
            data: String::new(),
            mode: Value::Null,
            link: String::new(),
            uid: 0,
            gid: 0,
            mtime: None,
            xattrs: BTreeMap::new(),
        }
    }
}

/// The time of everything that has none of its own.
const DEFAULT_MTIME: u64 = 1_000_000_000;

/// Makes the small root that steps run in: a static busybox and links for its applets.
pub(super) fn make_base(dir: &Path, busybox: &Path) {
    for name in ["bin", "etc", "dev", "home", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(dir.join(name)).expect("a folder");
    }
    let mut program = File::create(dir.join("bin/busybox")).expect("a file");
    std::io::copy(&mut File::open(busybox).expect("busybox"), &mut program).expect("a copy");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.join("bin/busybox"), mode).expect("a mode");
    let applets = Command::new(busybox)
        .arg("--list")
        .output()
        .expect("busybox runs")
        .stdout;
    for applet in String::from_utf8_lossy(&applets)
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink("busybox", dir.join("bin").join(applet)).expect("a link");
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("a file");
    fs::write(dir.join("etc/group"), "root:x:0:\n").expect("a file");
}

/// Makes a folder as the golden data describes it.
pub(super) fn make(dir: &Path, entries: &Value) {
    fs::create_dir_all(dir).expect("a folder");
    let entries: Vec<Entry> = serde_json::from_value(entries.clone()).unwrap_or_default();
    for entry in &entries {
        make_entry(dir, entry);
    }
    // Times of folders last: making what is in them changes them.
    let mut folders = vec![dir.to_owned()];
    collect_folders(dir, &mut folders);
    for folder in folders.iter().rev() {
        let given = |entry: &&Entry| dir.join(entry.path.trim_matches('/')) == **folder;
        let entry = entries.iter().find(given);
        set_mtime(folder, entry.and_then(|entry| entry.mtime));
    }
}

fn collect_folders(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            found.push(path.clone());
            collect_folders(&path, found);
        }
    }
}

fn make_entry(dir: &Path, entry: &Entry) {
    let path = dir.join(entry.path.trim_matches('/'));
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    match entry.kind.as_str() {
        "dir" => fs::create_dir_all(&path).expect("a folder"),
        "symlink" => symlink(&entry.link, &path).expect("a link"),
        "hardlink" => {
            let first = dir.join(entry.link.trim_matches('/'));
            return fs::hard_link(first, &path).expect("a hard link");
        }
        _ => fs::write(&path, &entry.data).expect("a file"),
    }
    lchown(&path, Some(entry.uid), Some(entry.gid)).expect("an owner");
    if entry.kind != "symlink" {
        let default = if entry.kind == "dir" { 0o755 } else { 0o644 };
        let mode = fs::Permissions::from_mode(mode(&entry.mode).unwrap_or(default));
        fs::set_permissions(&path, mode).expect("a mode");
        for (name, value) in &entry.xattrs {
            set_xattr(&path, name, value);
        }
        set_mtime(&path, entry.mtime);
    }
}

/// Octal text, or a number.
fn mode(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => u32::from_str_radix(text, 8).ok(),
        Value::Number(number) => number.as_u64().and_then(|mode| u32::try_from(mode).ok()),
        _ => None,
    }
}

fn set_xattr(path: &Path, name: &str, value: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, name, value.as_bytes(), flags).expect("an xattr");
}

fn set_mtime(path: &Path, seconds: Option<u64>) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(DEFAULT_MTIME));
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    file.expect("opens").set_modified(time).expect("a time");
}
