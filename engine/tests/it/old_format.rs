//! A whole state folder as version 1 left it on disk, kept to the byte.
//!
//! `tests/fixtures/state-v1.tar.zst` was made as root by this program with the argument
//! `make-old-format`, after three steps of [`chain`], and is not made again as long as the version stays.
//! Whatever changes in the code, it has to be opened, and the steps to be found.

use std::path::Path;
use std::process::Command;

use lamina_proto::control::DiskUsageRequest;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::engine::steps_run;
use crate::fixture;
use crate::harness::Outcome;

/// First argument of this program when it is to make the fixture.
pub(crate) const MAKE: &str = "make-old-format";

const FIXTURE: &str = "tests/fixtures/state-v1.tar.zst";

const STEPS: usize = 3;

/// Runs `tar` in `dir` so that nothing of a state folder is lost.
fn tar(dir: &Path, arguments: &[&str]) -> Result<(), String> {
    let fixture = std::env::current_dir().expect("a folder").join(FIXTURE);
    let output = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--sparse",
        ])
        .args(["--use-compress-program=zstd -19", "-C"])
        .arg(dir)
        .arg("-f")
        .arg(fixture)
        .args(arguments)
        .output()
        .map_err(|error| format!("tar: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Makes the fixture.
pub(crate) fn make() -> ! {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = fixture::engine(dir.path()).await.expect("an engine");
        let (built, _) = build(&engine, request(chain(STEPS, 0))).await;
        built.map(drop).expect("builds");
        engine.settle().await;
    });
    let boot = dir.path().join("root/layers/boot");
    std::fs::write(boot, "another boot").expect("written");
    tar(dir.path(), &["-c", "root"]).expect("packed");
    std::process::exit(0);
}

pub(crate) fn version_1_is_read() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Outcome::Skipped("unpacking trusted attributes needs root".to_owned());
    }
    let dir = fixture::temporary();
    if let Err(reason) = tar(dir.path(), &["-xp"]) {
        return Outcome::Skipped(reason);
    }
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let records = engine.disk_usage(&DiskUsageRequest::default()).await;
        let records = records.expect("told");
        let told: Vec<&str> = records.iter().map(|r| r.description.as_str()).collect();
        assert_eq!(told, ["mkfile /0", "mkfile /1", "mkfile /2"]);
        assert!(records.iter().all(|record| record.usage_count > 0));
        let (built, events) = build(&engine, request(chain(STEPS, 0))).await;
        built.map(drop).expect("builds");
        assert_eq!(
            steps_run(&events),
            1,
            "all but what begins the graph is found"
        );
        Outcome::Passed
    })
}
