//! Attacks that were made on other builders, made on ours; docs/security.md lists them.
//!
//! Races are run for a bounded time against somebody who exchanges directories as fast as the kernel
//! lets them. They can only find something: that they find nothing is as good as their number of
//! rounds, which they print.

mod cache;
mod files;
mod places;
mod program;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use lamina_executor::MountKind;
use lamina_executor::StepMount;

/// How long one race is run.
const RACE: Duration = Duration::from_secs(3);

/// What is in a place of the host that no step may see.
const SECRET: &str = "only-the-host-knows";

/// Says whether a race that began at `begin` has been run long enough.
fn is_over(begin: Instant) -> bool {
    begin.elapsed() > RACE
}

/// Exchanges two names as long as this lives.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swapper {
    fn start(dir: &Path, one: &str, other: &str) -> Self {
        let (one, other) = (dir.join(one), dir.join(other));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let swap = move || {
            let mut swaps = 0;
            while !stopped.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &one,
                    rustix::fs::CWD,
                    &other,
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .expect("exchanged");
                swaps += 1;
            }
            swaps
        };
        let thread = Some(std::thread::spawn(swap));
        Self { stop, thread }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(swaps)) = self.thread.take().map(JoinHandle::join) {
            println!("{swaps} exchanges");
        }
    }
}

/// A mount of the directory `dir`, of that part of it.
fn directory(dest: &str, dir: &Path, selector: &str) -> StepMount {
    let dir = std::fs::File::open(dir).expect("a directory").into();
    let selector = selector.to_owned();
    StepMount {
        dest: dest.to_owned(),
        kind: MountKind::Directory { dir, selector },
        readonly: false,
    }
}

fn tmpfs(dest: &str) -> StepMount {
    let kind = MountKind::Tmpfs { size_bytes: None };
    StepMount {
        dest: dest.to_owned(),
        kind,
        readonly: false,
    }
}
