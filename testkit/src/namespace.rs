//! Tests once more, as root of a user namespace: as for users who are not root of the machine.
//!
//! A test program starts itself in a new namespace and runs the tests there whose names it is given:
//!
//! ```no_run
//! use lamina_testkit::namespace;
//! use lamina_testkit::namespace::Ids;
//!
//! // As a test of its own:
//! if namespace::inside().is_none() {
//!     match namespace::run_again(Ids::One, &["layers::", "archives::"]) {
//!         Ok(errors) => assert!(!errors.contains("skipped:"), "{errors}"),
//!         Err(reason) => lamina_testkit::skipped(&reason),
//!     }
//! }
//! ```

use std::io;
use std::io::Read;
use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// Says to the process inside which ids it has.
const INSIDE: &str = "LAMINA_TEST_NAMESPACE";

/// Waits until the ids are mapped, and only then becomes the program.
const WAIT: &str = "echo ready; read mapped; exec \"$0\" \"$@\"";

/// The ids of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ids {
    /// As of a user without subordinate ids: the kernel refuses every other owner.
    One,
    /// As of a user with subordinate ids, and more than enough of them.
    All,
}

impl Ids {
    const fn name(self) -> &'static str {
        match self {
            Self::One => "one id",
            Self::All => "all ids",
        }
    }
}

/// Returns which ids this process was given by [`run_again`], if that started it.
#[must_use]
pub fn inside() -> Option<Ids> {
    let name = std::env::var(INSIDE).ok()?;
    [Ids::One, Ids::All]
        .into_iter()
        .find(|ids| ids.name() == name)
}

/// Runs the tests of this program whose names contain one of `tests`; returns what they wrote to standard
/// error.
///
/// # Errors
/// Why no such namespace can be made here.
///
/// # Panics
/// With all that was written, if one of the tests fails or there is none.
pub fn run_again(ids: Ids, tests: &[&str]) -> Result<String, String> {
    let mut child = start(ids, tests).map_err(|error| format!("no user namespace: {error}"))?;
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| read(stdout, &mut out));
        scope.spawn(|| read(stderr, &mut err));
    });
    let status = child.wait().expect("ends");
    assert!(status.success(), "{out}\n{err}");
    assert!(!out.contains(" 0 passed"), "nothing was run: {out}");
    Ok(err)
}

fn read(stream: Option<impl Read>, text: &mut String) {
    let mut bytes = Vec::new();
    let mut stream = stream.expect("piped");
    stream.read_to_end(&mut bytes).expect("readable");
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

/// Starts the tests, once the namespace has its ids.
fn start(ids: Ids, tests: &[&str]) -> io::Result<Child> {
    let mut child = Command::new("unshare")
        .args(["-U", "sh", "-c", WAIT])
        .arg(std::env::current_exe()?)
        .arg("--nocapture")
        .args(tests)
        .env(INSIDE, ids.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    match give_ids(&mut child, ids) {
        Ok(()) => Ok(child),
        Err(error) => {
            drop(child.kill());
            drop(child.wait());
            Err(error)
        }
    }
}

/// Maps the ids of the child's namespace, and lets it go on.
fn give_ids(child: &mut Child, ids: Ids) -> io::Result<()> {
    // No more than this line: the rest is what the tests say.
    let mut ready = [0; b"ready\n".len()];
    let stdout = child.stdout.as_mut().expect("piped");
    stdout.read_exact(&mut ready)?;
    let proc = format!("/proc/{}", child.id());
    let (user, group) = (own_id("Uid:")?, own_id("Gid:")?);
    let (users, groups) = match ids {
        Ids::One => (format!("0 {user} 1"), format!("0 {group} 1")),
        Ids::All => ("0 0 4294967295".to_owned(), "0 0 4294967295".to_owned()),
    };
    if ids == Ids::One {
        std::fs::write(format!("{proc}/setgroups"), "deny")?;
    }
    std::fs::write(format!("{proc}/gid_map"), groups)?;
    std::fs::write(format!("{proc}/uid_map"), users)?;
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"\n")
}

/// Returns the effective id that the kernel shows in that line of a process's status.
fn own_id(line: &str) -> io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let numbers = status.lines().find_map(|text| text.strip_prefix(line));
    let effective = numbers.and_then(|numbers| numbers.split_whitespace().nth(1));
    effective
        .map(str::to_owned)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
