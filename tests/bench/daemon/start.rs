//! Starting, and how much an idle daemon takes.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::Outcome;
use crate::fill::fill;
use crate::subject::Subject;
use crate::table::line;

/// How often a socket that is not there yet is dialled.
const DIAL: Duration = Duration::from_millis(1);
/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Starts of which the median is taken.
const STARTS: usize = 7;
/// Cache records and layers of a store that was used for long.
const USED: (usize, usize) = (100_000, 10_000);

/// Starts `program` on an empty state folder, and on one with what long use leaves.
pub(crate) async fn start(program: &Path, dir: &Path) -> Outcome<()> {
    measure(program, &dir.join("empty"), "an empty store").await?;
    let used = dir.join("used");
    fill(&used, USED.0, USED.1).await?;
    let name = format!("{} cache records, {} layers", USED.0, USED.1);
    measure(program, &used, &name).await
}

async fn measure(program: &Path, root: &Path, name: &str) -> Outcome<()> {
    let mut seen = Vec::new();
    for _ in 0..STARTS {
        seen.push(start_once(program, root).await?);
    }
    let median = |figure: fn(&Seen) -> f64| {
        let mut figures: Vec<f64> = seen.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    line(&format!("start with {name}"), None, "");
    line(
        "  until Info is answered",
        Some(median(|seen| seen.info)),
        "ms",
    );
    line(
        "  until the engine is open",
        Some(median(|seen| seen.open)),
        "ms",
    );
    line(
        "  memory, one client",
        Some(median(|seen| seen.memory)),
        "MiB",
    );
    Ok(())
}

/// One start.
struct Seen {
    info: f64,
    open: f64,
    memory: f64,
}

/// A daemon that is told to end with the value: one that was killed has to check its database.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if kill_process(Pid::from_child(&self.0), Signal::TERM).is_ok() {
            drop(self.0.wait());
        }
    }
}

async fn start_once(program: &Path, root: &Path) -> Outcome<Seen> {
    let socket = root.with_extension("sock");
    drop(std::fs::remove_file(&socket));
    let address = format!("unix://{}", socket.display());
    let mut command = Command::new(program);
    command
        .args(["daemon", "--addr", &address, "--root"])
        .arg(root);
    let begin = Instant::now();
    let _running = Running(command.stderr(Stdio::null()).spawn()?);
    let subject = loop {
        match Subject::connect(&address).await {
            Ok(subject) => break subject,
            Err(error) if begin.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(DIAL).await,
        }
    };
    subject.client.info().await?;
    let info = begin.elapsed();
    subject.client.workers(&[]).await?;
    let open = begin.elapsed();
    // What starting took is given back a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Seen {
        info: info.as_secs_f64() * 1e3,
        open: open.as_secs_f64() * 1e3,
        memory: subject.memory(),
    })
}
