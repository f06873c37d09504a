//! File operations: many small files, a few large ones, removals, and many actions in one op.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_client::BuildRequest;
use lamina_client::Gateway;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::Outcome;
use crate::context::FOLDERS;
use crate::context::build;
use crate::context::write_large_file;
use crate::context::write_small_files;
use crate::reads::solved;
use crate::subject::Subject;
use crate::table::heading;
use crate::table::line;
use crate::table::row;

/// Large files, and the size of each.
const LARGE: (usize, usize) = (4, 200 << 20);
/// Actions of the op that has many.
const ACTIONS: usize = 1_000;
/// Whom copies are given to.
const OWNER: u32 = 1_000;

/// Measures the daemons, and what tools do with the same files below `dir`, which is on the file
/// system that the daemons' state is on.
pub(crate) async fn copies(subjects: &[Subject], dir: &Path) -> Outcome<()> {
    let small = tempfile::tempdir_in(dir)?;
    write_small_files(small.path())?;
    heading("file operations");
    let files = files_of(small.path());
    let copy = |owner| State::scratch().file_from(copy_action("/files", owner), &files);
    let steps = [
        ("50,000 files between snapshots", copy(None)),
        ("the same with another owner", copy(Some(OWNER))),
        ("rm /files/*/* of them", files.file(rm_action("/files/*/*"))),
        (
            "1,000 mkfile actions in one op",
            State::scratch().files((0..ACTIONS).map(mkfile_action)),
        ),
    ];
    let mut times = Vec::new();
    for subject in subjects {
        let states: Vec<&State> = steps.iter().map(|(_, state)| state).collect();
        times.push(time_each(subject, small.path(), &files, &states).await?);
    }
    for (index, (name, _)) in steps.iter().enumerate() {
        let times: Vec<f64> = times.iter().map(|all| all[index]).collect();
        row(name, &times, "ms", false);
    }
    one_changed_file(subjects, small.path()).await?;
    copy_small_by_tool(small.path(), dir)?;
    drop(small);
    large(subjects, dir).await
}

/// Measures copies of large files that get another owner, and the space that they take.
pub(crate) async fn large(subjects: &[Subject], dir: &Path) -> Outcome<()> {
    let large = tempfile::tempdir_in(dir)?;
    for number in 0..LARGE.0 {
        write_large_file(&large.path().join(number.to_string()), LARGE.1)?;
    }
    heading("4 files of 200 MiB with another owner");
    let files = files_of(large.path());
    let copy = State::scratch().file_from(copy_action("/files", Some(OWNER)), &files);
    let (mut times, mut space) = (Vec::new(), Vec::new());
    for subject in subjects {
        time_each(subject, large.path(), &files, &[]).await?;
        let before = used_mib(dir)?;
        times.extend(time_each(subject, large.path(), &files, &[&copy]).await?);
        space.push(used_mib(dir)? - before);
    }
    row("copy between snapshots", &times, "ms", false);
    row("space that it took", &space, "MiB", false);
    copy_large_by_kernel(large.path(), dir)
}

/// Returns how much of the file system is in use.
fn used_mib(dir: &Path) -> Outcome<f64> {
    let file = File::open(dir)?;
    rustix::fs::syncfs(&file)?;
    let found = rustix::fs::fstatvfs(&file)?;
    let blocks = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(blocks as f64 * found.f_frsize as f64 / f64::from(1 << 20))
}

/// The client's directory `dir`, copied to `/files`.
fn files_of(dir: &Path) -> State {
    let key = dir.display().to_string();
    let attrs = [("local.sharedkeyhint", key.as_str())];
    let context = State::source("local://context", &attrs, None);
    State::scratch().copy(&context, "/", "/files")
}

/// Has the daemon make `base` of the client's directory `dir`, and then each of `states`; returns the
/// milliseconds that each of these took. All is one build, so that the directory is sent before.
async fn time_each(
    subject: &Subject,
    dir: &Path,
    base: &State,
    states: &[&State],
) -> Outcome<Vec<f64>> {
    let session = LocalSession::builder().local_dir("context", dir);
    let request = BuildRequest::new(Arc::new(session.shared_key("bench").build()));
    let (events, _ignored) = mpsc::unbounded_channel();
    let (times, received) = oneshot::channel();
    let drive = |gateway: Gateway| async move {
        solved(&gateway, base).await?;
        let mut all = Vec::new();
        for state in states {
            let begin = Instant::now();
            solved(&gateway, state).await?;
            all.push(milliseconds(begin.elapsed()));
        }
        drop(times.send(all));
        Ok(gateway::Result::default())
    };
    let client = &subject.client;
    client
        .build(request, drive, events, &CancelToken::new())
        .await?;
    Ok(received.await?)
}

/// Changes one file of the context, and copies that one.
async fn one_changed_file(subjects: &[Subject], dir: &Path) -> Outcome<()> {
    let changed = format!("{}/{}", FOLDERS.0 / 2, FOLDERS.1 / 2);
    let mut times = Vec::new();
    for subject in subjects {
        fs::write(dir.join(&changed), format!("changed for {}", times.len()))?;
        let time = build(subject, dir, |context| {
            State::scratch().copy(&context, &changed, "/copy")
        });
        times.push(milliseconds(time.await?));
    }
    row("one changed file of the context", &times, "ms", false);
    Ok(())
}

/// What `cp` needs for the small files. It makes copies, where daemons may share.
fn copy_small_by_tool(small: &Path, dir: &Path) -> Outcome<()> {
    let place = tempfile::tempdir_in(dir)?;
    let begin = Instant::now();
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=never"]);
    if !copy.arg(small).arg(place.path()).status()?.success() {
        return Err("cp failed".into());
    }
    let time = milliseconds(begin.elapsed());
    line("cp -a of the 50,000 files", Some(time), "ms");
    Ok(())
}

/// What the kernel needs for the large files, one after the other.
fn copy_large_by_kernel(large: &Path, dir: &Path) -> Outcome<()> {
    let place = tempfile::tempdir_in(dir)?;
    let begin = Instant::now();
    for number in 0..LARGE.0 {
        let name = number.to_string();
        copy_in_kernel(&large.join(&name), &place.path().join(&name))?;
    }
    let time = milliseconds(begin.elapsed());
    line("copy_file_range of the files, one by one", Some(time), "ms");
    Ok(())
}

fn copy_in_kernel(from: &Path, to: &Path) -> Outcome<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    while rustix::fs::copy_file_range(&from, None, &to, None, LARGE.1)? > 0 {}
    Ok(())
}

/// Copies all of a tree to a place that is another one in each run of this program.
fn copy_action(source: &str, owner: Option<u32>) -> Action {
    let user = owner.map(|id| pb::UserOpt {
        user: Some(pb::user_opt::User::ById(id)),
    });
    Action::Copy(pb::FileActionCopy {
        src: source.to_owned(),
        dest: format!("/copy-{}", std::process::id()),
        owner: user.map(|user| pb::ChownOpt {
            user: Some(user.clone()),
            group: Some(user),
        }),
        mode: -1,
        dir_copy_contents: true,
        create_dest_path: true,
        timestamp: -1,
        ..pb::FileActionCopy::default()
    })
}

fn rm_action(pattern: &str) -> Action {
    Action::Rm(pb::FileActionRm {
        path: pattern.to_owned(),
        allow_not_found: false,
        allow_wildcard: true,
    })
}

fn mkfile_action(number: usize) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: format!("/{number}"),
        mode: 0o644,
        data: format!("{} {number}", std::process::id()).into(),
        owner: None,
        timestamp: -1,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
