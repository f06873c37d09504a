//! A real registry on loopback: Docker's own, where it is installed.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::support::report;

/// A running registry; ends with this value.
pub(crate) struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub(crate) host: String,
    _dir: tempfile::TempDir,
}

impl DockerRegistry {
    /// Starts one; `None`, having said why, if this machine has none.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).expect("written");
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            report(&format!("{test} skipped: docker-registry is not installed"));
            return None;
        };
        let host = listening_host(&mut child);
        Some(Self {
            child,
            host,
            _dir: dir,
        })
    }
}

/// Waits for the line in which the registry says where it listens, and reads on in a thread.
fn listening_host(child: &mut Child) -> String {
    let stderr = child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr).lines();
    let host = loop {
        let line = lines.next().expect("the registry starts");
        let line = line.expect("readable");
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
