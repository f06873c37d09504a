//! Programs that ask much of a file system, at work on a mount and then on top of what they left.
//!
//! Each is a script of two stages, which are a layer each. As root data does not pass through the server
//! (passthrough); in a user namespace it does, and the kernel gathers writes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use lamina_snapshotter::LayerStack;

use super::world;
use crate::support::in_user_namespace;
use crate::support::skipped;

const STAGES: [&str; 2] = ["make", "change"];

/// So many seconds a stage may take.
const SECONDS: &str = "120";

/// A user that every machine has, and that is not root.
const USER: u32 = 1;

/// A program of this machine, and what to do with it.
struct Program {
    name: &'static str,
    /// What to run, with the stage after it.
    command: Vec<String>,
    arguments: Vec<String>,
    /// Not as root.
    as_user: bool,
}

impl Program {
    fn new(name: &'static str, command: &[&str]) -> Self {
        Self {
            name,
            command: command.iter().copied().map(str::to_owned).collect(),
            arguments: Vec::new(),
            as_user: false,
        }
    }

    /// Has the program work in two layers, or says why not.
    fn run(&self, needs: &[&str]) {
        let test = format!("{} on fuse", self.name);
        if let Some(name) = needs.iter().find(|name| find(name).is_none()) {
            return skipped(&test, &format!("{name} is missing"));
        }
        let Some(world) = world(&test) else {
            return;
        };
        let mut stack = LayerStack::empty();
        for stage in STAGES {
            stack = world.step_at_place(&stack, |place| self.run_stage(stage, place));
        }
    }

    fn run_stage(&self, stage: &str, place: &Path) {
        let home = self.home(place);
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", SECONDS]);
        if self.as_user && in_user_namespace() {
            let (user, group) = (format!("--map-user={USER}"), format!("--map-group={USER}"));
            command.args(["unshare", "--user", &user, &group]);
        } else if self.as_user {
            std::os::unix::process::CommandExt::uid(&mut command, USER);
            std::os::unix::process::CommandExt::gid(&mut command, USER);
        }
        command.args(&self.command).arg(stage).args(&self.arguments);
        let output = command.current_dir(home).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{} {stage}: {said}", self.name);
    }

    /// Returns the folder to work in.
    fn home(&self, place: &Path) -> PathBuf {
        let home = place.join("home");
        if !home.exists() {
            std::fs::create_dir(&home).unwrap();
            std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
            // In the namespace root is known to the program as the user.
            if self.as_user && !in_user_namespace() {
                std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
            }
        }
        home
    }
}

/// Returns where a program is.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(name));
    places.find(|file| file.is_file())
}

#[test]
fn git() {
    Program::new("git", &["sh", "-c", include_str!("git.sh"), "sh"]).run(&["git"]);
}

#[test]
fn cargo() {
    Program::new("cargo", &["sh", "-c", include_str!("cargo.sh"), "sh"]).run(&["cargo"]);
}

#[test]
fn sqlite() {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/fuse/programs/sqlite.py"
    );
    Program::new("sqlite", &["python3", script]).run(&["python3"]);
}

#[test]
fn postgres() {
    let Some(bin) = postgres_programs() else {
        return skipped("postgres on fuse", "PostgreSQL is not installed");
    };
    let mut postgres = Program::new("postgres", &["sh", "-c", include_str!("postgres.sh"), "sh"]);
    postgres.arguments.push(bin.to_str().unwrap().to_owned());
    postgres.as_user = true;
    postgres.run(&[]);
}

/// Returns where the newest of the distribution's servers is; it is in nobody's path.
fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let complete = |bin: &PathBuf| {
        ["initdb", "pgbench", "psql"]
            .iter()
            .all(|name| bin.join(name).exists())
    };
    versions.filter(complete).max()
}
