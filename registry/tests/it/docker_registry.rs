//! A real registry on loopback: Docker's own, where it is installed.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// A running registry; ends with this value.
pub(crate) struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub(crate) host: String,
    _dir: tempfile::TempDir,
}

/// Whom the registry lets in.
#[derive(Clone, Copy)]
pub(crate) enum Users<'a> {
    Everyone,
    /// Name and password.
    One(&'a str, &'a str),
}

impl DockerRegistry {
    /// Starts one; `None`, having said why, if this machine has none.
    pub(crate) fn start(users: Users<'_>) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let auth = match users {
            Users::Everyone => String::new(),
            Users::One(name, password) => {
                let file = dir.path().join("htpasswd");
                let made = Command::new("htpasswd")
                    .args(["-Bbc"])
                    .arg(&file)
                    .args([name, password])
                    .stderr(Stdio::null())
                    .status();
                if !made.is_ok_and(|status| status.success()) {
                    skipped("htpasswd is not installed");
                    return None;
                }
                format!(
                    "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                    file.display()
                )
            }
        };
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n{auth}",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).expect("written");
        let mut child = match ["docker-registry", "registry"].iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("serve").arg(&config);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().ok()
        }) {
            Some(child) => child,
            None => {
                skipped("docker-registry is not installed");
                return None;
            }
        };
        let host = listening_host(&mut child);
        Some(Self {
            child,
            host,
            _dir: dir,
        })
    }
}

/// Says why a test is not run.
#[expect(
    clippy::print_stdout,
    reason = "this is how tests report what was skipped"
)]
pub(crate) fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// Waits for the line in which the registry says where it listens, and reads on in a thread.
fn listening_host(child: &mut Child) -> String {
    let stderr = child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr).lines();
    let host = loop {
        let line = lines
            .next()
            .expect("the registry starts")
            .expect("readable");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(['"', ' ']).unwrap_or(rest.len());
            break rest[..end].to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    host
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
