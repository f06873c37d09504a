//! A disk without space: what nothing uses goes, and the error tells what is the matter.

use std::path::Path;
use std::process::Command;

use lamina_engine::Engine;
use lamina_proto::control::DiskUsageRequest;
use lamina_proto::pb;
use lamina_solver::Event;

use crate::engine::build;
use crate::engine::definition;
use crate::engine::mkfile;
use crate::engine::request;
use crate::engine::step;
use crate::engine::steps_run;
use crate::fixture;
use crate::harness::Outcome;

const MIB: usize = 1 << 20;

/// A program without libraries.
const BUSYBOX: &str = "/bin/busybox";

/// A small disk, gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Result<Self, String> {
        let dir = fixture::temporary();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(dir.path())
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Self(dir)),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "unmounted");
    }
}

/// One step that writes `size` bytes.
fn file(name: &str, size: usize) -> pb::Definition {
    definition(vec![mkfile(name, 0o644, vec![b'x'; size], None)])
}

/// A process that writes `mib` MiB to a file, and fails if it cannot.
fn process(mib: usize) -> Result<pb::Definition, String> {
    let busybox = std::fs::read(BUSYBOX).map_err(|error| format!("{BUSYBOX}: {error}"))?;
    let base = mkfile("busybox", 0o755, busybox, None);
    let count = format!("count={mib}");
    let args = [
        "/busybox",
        "dd",
        "if=/dev/zero",
        "of=/large",
        "bs=1048576",
        &count,
    ];
    let root = pb::Mount {
        dest: "/".to_owned(),
        ..pb::Mount::default()
    };
    let run = pb::ExecOp {
        meta: Some(pb::Meta {
            args: args.map(str::to_owned).to_vec(),
            cwd: "/".to_owned(),
            ..pb::Meta::default()
        }),
        mounts: vec![root],
        ..pb::ExecOp::default()
    };
    let run = step(pb::op::Op::Exec(run), Some(&base));
    Ok(definition(vec![base, run]))
}

async fn kept(engine: &Engine) -> Vec<String> {
    let records = engine.disk_usage(&DiskUsageRequest::default()).await;
    let records = records.expect("told").into_iter();
    records.map(|record| record.description).collect()
}

/// Builds two files that together nearly fill the disk.
async fn fill(engine: &Engine) {
    for name in ["a", "b"] {
        let (built, _) = build(engine, request(file(name, 12 * MIB))).await;
        built.map(drop).expect("builds");
        engine.settle().await;
    }
}

pub(crate) fn steps_make_room_and_say_if_there_is_none() -> Outcome {
    let disk = match SmallDisk::new() {
        Ok(disk) => disk,
        Err(reason) => return Outcome::Skipped(reason),
    };
    fixture::block_on(async {
        let engine = match fixture::engine(disk.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        fill(&engine).await;
        assert_eq!(kept(&engine).await, ["mkfile /a", "mkfile /b"]);
        let (built, _) = build(&engine, request(file("c", 28 * MIB))).await;
        built
            .map(drop)
            .expect("has room once something else is gone");
        engine.settle().await;
        assert_eq!(kept(&engine).await, ["mkfile /c"], "the oldest went");
        let (built, _) = build(&engine, request(file("d", 60 * MIB))).await;
        let error = built.err().expect("is larger than the disk").to_string();
        let place = disk.path().join("root/layers");
        for part in [
            "no space left on device",
            &format!("the disk with {} is full: ", place.display()),
            " MiB free after removing ",
        ] {
            assert!(error.contains(part), "{part:?} in {error}");
        }
        is_as_before(&engine, "e").await;
        Outcome::Passed
    })
}

/// All that a process says is that it failed, so the disk is looked at.
pub(crate) fn processes_get_a_second_chance() -> Outcome {
    let (disk, run) = match SmallDisk::new().and_then(|disk| Ok((disk, process(28)?))) {
        Ok(both) => both,
        Err(reason) => return Outcome::Skipped(reason),
    };
    fixture::block_on(async {
        let engine = match fixture::engine(disk.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        fill(&engine).await;
        let (built, events) = build(&engine, request(run)).await;
        built
            .map(drop)
            .expect("has room once something else is gone");
        let log = |event: &Event| match event {
            Event::Log { data, .. } => Some(String::from_utf8_lossy(data).into_owned()),
            _ => None,
        };
        let log: String = events.iter().filter_map(log).collect();
        assert!(log.contains("; trying once more\n"), "{log}");
        Outcome::Passed
    })
}

/// Others fill the disk, so that the engine's own books cannot be written either.
pub(crate) fn engines_recover_when_others_leave_the_disk() -> Outcome {
    let disk = match SmallDisk::new() {
        Ok(disk) => disk,
        Err(reason) => return Outcome::Skipped(reason),
    };
    fixture::block_on(async {
        let engine = match fixture::engine(disk.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        is_as_before(&engine, "a").await;
        let others = disk.path().join("others");
        let filled = std::fs::write(&others, vec![b'x'; 64 * MIB]);
        assert!(filled.is_err(), "the disk is full");
        for name in ["b", "c"] {
            let (built, _) = build(&engine, request(file(name, 4 * MIB))).await;
            assert!(built.is_err(), "too little can be removed");
            engine.settle().await;
        }
        std::fs::remove_file(others).expect("removed");
        is_as_before(&engine, "d").await;
        drop(engine);
        let engine = fixture::engine(disk.path()).await.expect("opens again");
        is_as_before(&engine, "f").await;
        Outcome::Passed
    })
}

/// Checks that a step runs, and is found the next time.
async fn is_as_before(engine: &Engine, name: &str) {
    for runs in [1, 0] {
        let (built, events) = build(engine, request(file(name, MIB))).await;
        built.map(drop).expect("builds");
        engine.settle().await;
        assert_eq!(steps_run(&events), runs, "{name}");
    }
}
