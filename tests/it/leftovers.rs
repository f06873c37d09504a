//! What builds and daemons leave behind: files that are not finished, mounts, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::harness::User;
use crate::harness::may_act_as;
use crate::harness::skip;
use crate::scratch::scratch;
use crate::waiting::wait_for_line;

/// Where things are made before they get their place, by how their names begin (docs/format.md). A
/// start removes what it finds there.
const UNFINISHED: [(&str, &str); 5] = [
    ("layers", "tmp-"),
    ("layers", "dead-"),
    ("content/ingest", ""),
    ("cache-mounts", "tmp-"),
    ("history/live", ""),
];

/// Returns what is not finished in the state folder `root`.
pub(crate) fn unfinished(root: &Path) -> Vec<PathBuf> {
    let begun = |(folder, prefix): (&str, &'static str)| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths.filter(move |path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(prefix)
        })
    };
    let mut found: Vec<PathBuf> = UNFINISHED.into_iter().flat_map(begun).collect();
    found.sort();
    found
}

/// Returns the mounts of any process's namespace that have to do with `path`, as lines of mountinfo.
pub(crate) fn mounts_of(path: &Path) -> Vec<String> {
    let path = path.to_str().expect("the path is text");
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for process in processes() {
        let namespace = fs::read_link(format!("/proc/{process}/ns/mnt"));
        if namespace.is_ok_and(|namespace| seen.insert(namespace)) {
            // One that has just ended has no mounts.
            let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo"));
            let mounts = mounts.unwrap_or_default();
            let lines = mounts.lines().filter(|line| line.contains(path));
            found.extend(lines.map(str::to_owned));
        }
    }
    found
}

/// Returns the processes that have `word` as a variable or an argument.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let holds = |file: String| {
        fs::read(file).is_ok_and(|text| {
            text.split(|&byte| byte == 0)
                .any(|one| one == word.as_bytes())
        })
    };
    let has =
        |pid: &u32| holds(format!("/proc/{pid}/environ")) || holds(format!("/proc/{pid}/cmdline"));
    processes().filter(has).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("readable");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[test]
fn what_is_not_finished_is_found() {
    let root = scratch();
    let make = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(&path).expect("made");
        path
    };
    for finished in [
        "layers/1",
        "layers/empty",
        "content/blobs/sha256",
        "cache-mounts/1",
        "history/blobs/a",
    ] {
        make(finished);
    }
    assert_eq!(unfinished(root.path()), Vec::<PathBuf>::new());
    let names = [
        "cache-mounts/tmp-2",
        "content/ingest/7",
        "history/live/3",
        "layers/dead-4",
        "layers/tmp-5",
    ];
    let made: Vec<PathBuf> = names.into_iter().map(make).collect();
    assert_eq!(unfinished(root.path()), made);
}

#[test]
fn mounts_and_processes_elsewhere_are_found() {
    const HOLD: &str = "mount -t tmpfs held \"$1\" && echo mounted >&2 && read line";
    if let Err(reason) = may_act_as(User::Root) {
        skip!("{reason}");
    }
    let root = scratch();
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", HOLD, "sh"])
        .arg(root.path());
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = command.spawn().expect("unshare starts");
    wait_for_line(&mut holder, |line| line == "mounted");
    let shown = root.path().to_str().expect("text");
    assert_eq!(mounts_of(root.path()).len(), 1);
    assert_eq!(processes_with(shown), [holder.id()]);
    drop(holder.stdin.take());
    holder.wait().expect("a status");
    assert_eq!(mounts_of(root.path()), Vec::<String>::new());
    assert_eq!(processes_with(shown), Vec::<u32>::new());
}
