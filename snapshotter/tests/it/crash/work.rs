//! Work on a store without end, and what has to be true of it at any moment.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::Follow;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::LayerId;

use crate::support::random::Random;

/// Stacks that the work keeps at a time.
const STACKS: usize = 6;

/// Works on a store until something fails or is over.
pub(super) struct Worker {
    store: SnapshotStore,
    random: Random,
    stacks: Vec<LayerStack>,
    /// Layers that a flush that has returned covers.
    flushed: BTreeSet<LayerId>,
}

impl Worker {
    pub(super) fn new(store: SnapshotStore, seed: u64) -> Self {
        Self {
            store,
            random: Random::new(seed),
            stacks: vec![LayerStack::empty()],
            flushed: BTreeSet::new(),
        }
    }

    /// Works until `end`, or until the disk does not take any more; returns the layers that have to be
    /// there whatever happens from then on.
    pub(super) fn run_until(mut self, end: Instant) -> BTreeSet<LayerId> {
        while Instant::now() < end {
            if self.step().is_err() {
                break;
            }
        }
        let held = self.stacks.iter().flat_map(LayerStack::ids);
        held.filter(|id| self.flushed.contains(id)).collect()
    }

    fn step(&mut self) -> Result<(), SnapshotError> {
        let cancel = CancelToken::new();
        let (first, second) = (self.pick(), self.pick());
        match self.random.below(16) {
            0..8 => {
                let layer = self.layer(&first)?;
                self.keep(first.push(layer));
            }
            8 | 9 => {
                let merged = self.store.merge(&[first, second], &cancel)?;
                self.keep(merged);
            }
            10 | 11 => {
                let diff = self.store.diff(&first, &second, &cancel)?;
                self.keep(diff);
            }
            12 => drop(first.digest(&Selection::of_path("/"), &cancel)?),
            13 => self.name_blob(&first)?,
            14 => {
                self.stacks.truncate(STACKS / 2);
                drop((first, second));
                self.store.sweep(&|_| false)?;
            }
            _ => self.flush()?,
        }
        Ok(())
    }

    fn pick(&mut self) -> LayerStack {
        self.random.pick(&self.stacks).clone()
    }

    fn keep(&mut self, stack: LayerStack) {
        // Short stacks, so that the work goes on at the same pace.
        let layers = stack.layers();
        let start = layers.len().saturating_sub(5);
        self.stacks
            .insert(0, LayerStack::new(layers[start..].iter().cloned()));
        self.stacks.truncate(STACKS);
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let before = self.stacks.iter().flat_map(LayerStack::ids).collect();
        self.store.flush()?;
        self.flushed = before;
        Ok(())
    }

    fn name_blob(&mut self, stack: &LayerStack) -> Result<(), SnapshotError> {
        let Some(layer) = stack.layers().last() else {
            return Ok(());
        };
        let digest = Digest::of(&self.random.next().to_le_bytes());
        layer.add_blob(LayerBlob {
            diff_id: DiffId(digest),
            digest,
            size: 1,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        })
    }

    /// Makes a layer that says of itself how many files and deletions it has.
    fn layer(&mut self, lower: &LayerStack) -> Result<Layer, SnapshotError> {
        let seed = self.random.next() % 1_000_000;
        let files = 1 + self.random.below(30);
        let gone = lower.tree().root()?.read_dir()?.into_iter().next();
        let gone = gone.filter(|_| self.random.below(3) == 0);
        let mut active = self.store.prepare(lower)?;
        active.describe(format!("{files} {}", usize::from(gone.is_some())));
        let root = active.writer().root()?;
        if let Some(name) = gone {
            root.remove(&name)?;
        }
        let dir = root.make_dir(format!("dir-{seed}").as_bytes(), 0o755)?;
        for index in 0..files {
            let length = match self.random.below(20) {
                0 => 100_000,
                _ => self.random.below(5_000),
            };
            write_file(&dir, index, &body(seed, length))?;
        }
        active.commit(&CancelToken::new())
    }
}

fn write_file(dir: &WriteDir, index: usize, body: &[u8]) -> Result<(), SnapshotError> {
    let name = format!("file-{index}");
    let mut file = dir.create_file(name.as_bytes(), 0o644)?;
    // A write fails only if the disk is gone; then so does the commit.
    drop(file.write_all(body));
    Ok(())
}

/// The content of a file, which begins with what makes it.
fn body(seed: u64, length: usize) -> Vec<u8> {
    let mut body = format!("{seed} {length}\n").into_bytes();
    let mut random = Random::new(seed);
    body.extend((0..length).map(|_| random.next().to_le_bytes()[0]));
    body
}

/// Says what is wrong with a layer; nothing, if it is whole.
pub(super) fn fault(layer: &Layer) -> Option<String> {
    match count(layer) {
        Err(fault) => Some(fault),
        Ok(counted) => {
            let told = layer.description();
            let is_right = told.is_empty() || told == format!("{} {}", counted.0, counted.1);
            (!is_right).then(|| format!("{counted:?} files and deletions, not {told}"))
        }
    }
}

/// Counts files and deletions, after a look into each file.
fn count(layer: &Layer) -> Result<(usize, usize), String> {
    let text = |error: SnapshotError| error.to_string();
    let tree = LayerStack::new([layer.clone()]).tree();
    let (mut files, mut deletions) = (0, 0);
    for change in layer.changes().map_err(text)? {
        let change = change.map_err(text)?;
        match change.kind {
            ChangeKind::Whiteout => deletions += 1,
            ChangeKind::Entry { stat, .. } if stat.kind == FileKind::Directory => {}
            ChangeKind::Entry { .. } | ChangeKind::HardLink { .. } => {
                files += 1;
                let entry = tree.lookup(&change.path, Follow::Parents).map_err(text)?;
                let mut data = Vec::new();
                let mut file = entry.open().map_err(text)?;
                file.read_to_end(&mut data)
                    .map_err(|error| error.to_string())?;
                if !is_whole(&data) {
                    return Err(format!("{}: {} bytes are wrong", change.path, data.len()));
                }
            }
        }
    }
    Ok((files, deletions))
}

fn is_whole(data: &[u8]) -> bool {
    let head = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let numbers = head.split_once(' ').and_then(|(seed, length)| {
        let (seed, length) = (seed.parse().ok()?, length.parse().ok()?);
        (length <= 100_000).then_some((seed, length))
    });
    numbers.is_some_and(|(seed, length)| data == body(seed, length))
}

/// Checks everything in an open store, and that nothing else is in its folder.
pub(super) fn check(store: &SnapshotStore, what: &str) {
    for layer in store.all_layers() {
        if let Some(fault) = fault(&layer) {
            panic!("{what}: {layer:?}: {fault}");
        }
    }
    store.finish_deleting();
    for name in names(store.path()) {
        let is_left = name.starts_with("tmp-") || name.starts_with("dead-");
        assert!(!is_left, "{what}: {name} is left");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
