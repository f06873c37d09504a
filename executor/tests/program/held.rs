//! What a process and its children hold: counted before and after many steps.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

/// As much is there afterwards as before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// This one, those that it started, and theirs.
    processes: usize,
    namespaces: usize,
    /// Of this process, by what they are of.
    descriptors: BTreeMap<String, usize>,
    mounts: usize,
    groups: Vec<String>,
    files: Vec<String>,
}

impl Held {
    /// Counts, for a world in `state`.
    pub(crate) fn now(state: &Path) -> Self {
        let family = family();
        let namespaces: BTreeSet<String> = family.iter().flat_map(|pid| namespaces(*pid)).collect();
        Self {
            processes: family.len(),
            namespaces: namespaces.len(),
            descriptors: descriptors(),
            mounts: read("/proc/self/mountinfo").lines().count(),
            groups: groups(),
            files: files(state),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn family() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        for task in names(Path::new(&format!("/proc/{pid}/task"))) {
            let children = read(&format!("/proc/{pid}/task/{task}/children"));
            let children = children.split_whitespace();
            found.extend(children.filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

fn namespaces(pid: u32) -> Vec<String> {
    let dir = Path::new("/proc").join(pid.to_string()).join("ns");
    let links = names(&dir).filter_map(|name| std::fs::read_link(dir.join(name)).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn descriptors() -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    let dir = Path::new("/proc/self/fd");
    for link in names(dir).filter_map(|name| std::fs::read_link(dir.join(name)).ok()) {
        let target = link.display().to_string();
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *counted.entry(kind).or_default() += 1;
    }
    counted
}

/// Control groups of steps of this process.
fn groups() -> Vec<String> {
    let own = format!("{}-", std::process::id());
    let top = Path::new("/sys/fs/cgroup");
    let trees = names(top)
        .map(|tree| top.join(tree))
        .chain([top.to_owned()]);
    let steps = trees.flat_map(|tree| names(&tree.join("lamina")));
    steps.filter(|name| name.starts_with(&own)).collect()
}

/// Names in the folders in which steps make some.
fn files(state: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["run", "run/stage", "run/sockets", "layers", "layers/layers"] {
        found.extend(names(&state.join(dir)).map(|name| format!("{dir}/{name}")));
    }
    found.sort();
    found
}
