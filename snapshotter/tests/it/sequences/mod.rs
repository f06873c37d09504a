//! Short random sequences of system calls: the kernel's overlay, our FUSE server, a plain directory and a
//! model in memory give the same results, to the error number, and the same tree.
//!
//! A mount is made once per layer and shared: every sequence works in a directory of its own, on top of
//! what the sequences before it have left there in lower layers. The backends take turns on two stacks,
//! so each works on layers that the other has written:
//!
//! ```text
//! stack one:   kernel, fuse,   kernel, fuse
//! stack two:   fuse,   kernel, fuse,   kernel
//! ```
//!
//! The model is checked against a plain directory by the same sequences. Where overlayfs is not like a
//! plain directory by design, `calls` says so by name.
//!
//! `LAMINA_TEST_SEQUENCES=100000@7` asks for that many sequences from seed 7; a failure says how to have
//! its sequence alone.

mod calls;
mod model;
mod plan;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use lamina_snapshotter::choose;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::picture;
use crate::support::picture::Picture;
use crate::support::skipped;
use crate::support::steps;
use model::Model;
use model::Origin;
use model::Rules;
use plan::LAYERS;
use plan::Plan;

/// Every non-directory with the first name of the same file, and its number of names.
type Names = BTreeMap<String, (String, usize)>;

fn rules(backend: Option<Backend>) -> Rules {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    Rules {
        name: backend.map_or("plain directory", Backend::name),
        overlay: backend == Some(Backend::Overlay),
        real_root: !in_user_namespace(),
        umask: u32::from_str_radix(umask.unwrap().trim(), 8).unwrap(),
    }
}

/// Says whether the file system shows which names are of one file. The kernel's overlay in a user
/// namespace forgets which lower file a copy is of, so it has two numbers.
fn shows_links(rules: Rules) -> bool {
    !rules.overlay || rules.real_root
}

/// Opens the directory of one tree; makes it for the first layer.
fn home(root: &OwnedFd, tree: usize, layer: usize) -> OwnedFd {
    let name = tree.to_string();
    if layer == 0 {
        rustix::fs::mkdirat(root, &name, Mode::from_raw_mode(0o755)).unwrap();
        rustix::fs::chmodat(root, &name, 0o755.into(), rustix::fs::AtFlags::empty()).unwrap();
    }
    open_dir(root, Path::new(&name))
}

fn open_dir(dir: impl AsFd, path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, path, flags, Mode::empty()).unwrap()
}

/// Carries one sequence out on the model and on `home`, which already shows the same.
fn live_through(model: &mut Model, home: &OwnedFd, plan: &Plan, (tree, layer): (usize, usize)) {
    let sequence = plan.sequence(tree, layer);
    let at = format!("{}: {}", model.rules.name, plan.at(tree, layer));
    // Every name is seen before, so that links among lower files are known.
    if layer > 0 {
        compare(model, home, &format!("before, {at}"));
    }
    for (number, step) in sequence.iter().enumerate() {
        let expected = model.run(step);
        let done = steps::run(step, home);
        plan.count(&done);
        let fits = done == expected || (expected == Err(Errno::STALE) && done.is_ok());
        assert!(
            fits,
            "{done:?} instead of {expected:?}, step {number} {step:?}, {at}: {sequence:?}"
        );
    }
    compare(model, home, &format!("after, {at}: {sequence:?}"));
}

/// Compares what `home` shows with the model.
fn compare(model: &mut Model, home: &OwnedFd, at: &str) {
    let shown = picture::of_mount(home);
    model.learn_times(&shown);
    assert_eq!(shown, model.picture(), "{at}");
    if shows_links(model.rules) {
        assert_eq!(names_shown(model, home, &shown), names_of(model), "{at}");
    }
}

fn names_of(model: &Model) -> Names {
    let mut firsts = HashMap::new();
    let mut names = Names::new();
    for (path, id) in model.paths() {
        let inode = &model.inodes[id];
        if inode.is_dir() {
            continue;
        }
        let first: &mut String = firsts.entry(id).or_insert_with(|| path.clone());
        let links = match inode.origin {
            Origin::New => model.links(id),
            Origin::Lower | Origin::CopiedUp => 0,
        };
        names.insert(path, (first.clone(), links));
    }
    names
}

/// Returns what `home` shows; a number of names only where lower layers cannot have others.
fn names_shown(model: &Model, home: &OwnedFd, shown: &Picture) -> Names {
    let paths = model.paths();
    let mut firsts = HashMap::new();
    let mut names = Names::new();
    for (path, node) in shown {
        if node.kind == lamina_types::FileKind::Directory {
            continue;
        }
        let meta = host_path(home).join(&path[1..]).symlink_metadata().unwrap();
        let first: &mut String = firsts.entry(meta.ino()).or_insert_with(|| path.clone());
        let links = match model.inodes[paths[path]].origin {
            Origin::New => meta.nlink() as usize,
            Origin::Lower | Origin::CopiedUp => 0,
        };
        names.insert(path.clone(), (first.clone(), links));
    }
    names
}

/// Works on all trees, with a few of them at a time.
fn on_each_tree(models: &mut [Model], work: impl Fn(usize, &mut Model) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
    let share = models.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (part, models) in models.chunks_mut(share).enumerate() {
            let work = &work;
            scope.spawn(move || {
                for (index, model) in models.iter_mut().enumerate() {
                    work(part * share + index, model);
                }
            });
        }
    });
}

#[test]
fn a_plain_directory_does_what_the_model_says() {
    let plan = Plan::new("sequences on a plain directory");
    let folder = tempfile::tempdir().unwrap();
    let root = open_dir(CWD, folder.path());
    let mut models = vec![Model::new(rules(None)); plan.trees];
    for layer in 0..LAYERS {
        on_each_tree(&mut models, |tree, model| {
            live_through(model, &home(&root, tree, layer), &plan, (tree, layer));
        });
    }
}

/// A stack of layers, and what it is to show.
struct Stack {
    layers: LayerStack,
    models: Vec<Model>,
}

impl Stack {
    fn new(plan: &Plan) -> Self {
        Self {
            layers: LayerStack::empty(),
            models: vec![Model::new(rules(None)); plan.trees],
        }
    }

    fn add_layer(&mut self, fixture: &Fixture, chosen: &Chosen, plan: &Plan, layer: usize) {
        let active = fixture.store.prepare(&self.layers).unwrap();
        let mount = chosen.mounter.mount_active(&active).unwrap();
        on_each_tree(&mut self.models, |tree, model| {
            model.begin_layer(chosen.rules);
            live_through(model, &home(&mount.fd, tree, layer), plan, (tree, layer));
        });
        drop(mount);
        active.end_mount().unwrap();
        self.layers = self.layers.push(commit(active));
        self.check_layers();
    }

    /// Checks what our own reader sees in the committed layers.
    fn check_layers(&self) {
        let mut trees = vec![Picture::new(); self.models.len()];
        for (path, node) in picture::of_tree(&self.layers.tree()) {
            let (tree, inside) = path[1..].split_at(path[1..].find('/').unwrap_or(path.len() - 1));
            if let Ok(tree) = tree.parse::<usize>() {
                let inside = if inside.is_empty() { "/" } else { inside };
                trees[tree].insert(inside.to_owned(), node);
            }
        }
        for (tree, (shown, model)) in trees.iter().zip(&self.models).enumerate() {
            let expected = model.picture();
            let by = model.rules.name;
            assert_eq!(*shown, expected, "tree {tree}, sealed by {by}");
        }
    }
}

/// A backend that works here.
struct Chosen {
    mounter: Arc<dyn Mounter>,
    rules: Rules,
}

fn backends(fixture: &Fixture) -> Vec<Chosen> {
    let probe = |backend: Backend| match choose(&fixture.store, Some(backend)) {
        Ok(chosen) => Some(Chosen {
            mounter: chosen.mounter,
            rules: rules(Some(backend)),
        }),
        Err(error) => {
            skipped("sequences", &error.to_string());
            None
        }
    };
    [Backend::Overlay, Backend::Fuse]
        .into_iter()
        .filter_map(probe)
        .collect()
}

#[test]
fn mounts_do_what_the_model_says() {
    let plan = Plan::new("sequences on mounts");
    let fixture = Fixture::new();
    let backends = backends(&fixture);
    let mut stacks: Vec<Stack> = backends.iter().map(|_| Stack::new(&plan)).collect();
    for layer in 0..LAYERS {
        for (chosen, stack) in backends.iter().zip(&mut stacks) {
            stack.add_layer(&fixture, chosen, &plan, layer);
        }
        stacks.rotate_left(1.min(backends.len()));
    }
}
