//! Mounts of layers for people: to hold one open, and to measure the backends.
//!
//! ```text
//! mounts hold BACKEND STORE PLACE     mount all layers of STORE and a new one on PLACE until standard
//!                                     input ends, then keep what was written as a further layer
//! mounts bench FOLDER                 measure every backend, and fuse-overlayfs where it is installed
//! ```
//! Run it as root or as root of a user namespace. `scripts/bench fuse` runs the second in memory.

#[path = "../../tests/it/support/random.rs"]
#[expect(dead_code, reason = "shared with tests")]
mod random;
mod subject;
mod table;
mod work;

use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use subject::Subject;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // Everything that is mounted here goes with this process.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["hold", backend, store, place, command @ ..] => hold(
            backend_of(backend)?,
            store.as_ref(),
            place.as_ref(),
            command,
        ),
        ["bench", folder] => bench(folder.as_ref()),
        _ => Err("usage: mounts hold BACKEND STORE PLACE [COMMAND..] | mounts bench FOLDER".into()),
    }
}

fn backend_of(name: &str) -> Outcome<Backend> {
    let all = [Backend::Overlay, Backend::Fuse, Backend::Copy];
    let found = all.into_iter().find(|backend| backend.name() == name);
    found.ok_or_else(|| format!("unknown backend {name:?}").into())
}

/// Mounts for somebody else: until standard input ends, or while a command runs in it.
fn hold(backend: Backend, store: &Path, place: &Path, command: &[&str]) -> Outcome<()> {
    let store = subject::open_store(store)?;
    let stack = LayerStack::new(store.all_layers());
    let chosen = lamina_snapshotter::choose(&store, Some(backend))?;
    let active = store.prepare(&stack)?;
    let mount = chosen.mounter.mount_active(&active)?;
    subject::attach(mount.fd, place)?;
    match command {
        [] => {
            println(&format!("ready: {}", chosen.reason()))?;
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        [program, arguments @ ..] => {
            let mut command = std::process::Command::new(program);
            println(&format!(
                "{}",
                command.args(arguments).current_dir(place).status()?
            ))?;
        }
    }
    subject::detach(place)?;
    let layer = active.commit(&CancelToken::new())?;
    println(&format!(
        "kept layer {} of {} bytes",
        layer.id(),
        layer.usage_bytes()
    ))
}

/// How often everything is measured; the best time counts, since other work only adds to times.
const ROUNDS: usize = 3;

/// Measures all subjects in turn, so that whatever else the machine does meets all of them, and prints
/// each row when it is known.
fn bench(folder: &Path) -> Outcome<()> {
    let input = work::Input::make(folder)?;
    let mut subjects = Vec::new();
    for subject in Subject::all() {
        match subject.probe(&input, folder) {
            Ok(()) => subjects.push(subject),
            Err(error) => println(&format!("{}: skipped: {error}", subject.name()))?,
        }
    }
    let names: Vec<&str> = subjects.iter().map(Subject::name).collect();
    println(&table::heading(&names))?;
    for group in work::GROUPS {
        let mut best = vec![vec![Duration::MAX; subjects.len()]; group.len()];
        for _ in 0..ROUNDS {
            for (column, subject) in subjects.iter().enumerate() {
                let times = work::measure(subject, group, &input, folder)?;
                for (row, time) in best.iter_mut().zip(times) {
                    row[column] = time.min(row[column]);
                }
            }
        }
        for ((name, _), times) in group.iter().zip(&best) {
            println(&table::row(name, times))?;
        }
    }
    Ok(())
}

fn println(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
