//! A real registry on loopback: Docker's own, where it is installed.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::skipped;

/// A running registry; ends with this value.
pub struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub host: String,
    _dir: tempfile::TempDir,
}

/// Whom the registry lets in.
#[derive(Clone, Copy)]
pub enum Users<'a> {
    /// Whoever comes.
    Everyone,
    /// Name and password.
    One(&'a str, &'a str),
}

impl DockerRegistry {
    /// Starts one; `None`, having said why, if this machine has none.
    #[must_use]
    pub fn start(users: Users<'_>) -> Option<Self> {
        Self::try_start(users)
            .map_err(|reason| skipped(&reason))
            .ok()
    }

    /// Starts one.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn try_start(users: Users<'_>) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let auth = match users {
            Users::Everyone => String::new(),
            Users::One(name, password) => authentication(dir.path(), name, password)?,
        };
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n{auth}",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).expect("written");
        let mut child = serve(&config)?;
        let host = listening_host(&mut child);
        Ok(Self {
            child,
            host,
            _dir: dir,
        })
    }
}

/// Writes the file of users; returns the part of the configuration that names it.
fn authentication(dir: &Path, name: &str, password: &str) -> Result<String, String> {
    let file = dir.join("htpasswd");
    let made = Command::new("htpasswd")
        .args(["-Bbc"])
        .arg(&file)
        .args([name, password])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err("htpasswd is not installed".to_owned());
    }
    let file = file.display();
    Ok(format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {file}\n"
    ))
}

fn serve(config: &Path) -> Result<Child, String> {
    let start = |program: &str| {
        let mut command = Command::new(program);
        command.arg("serve").arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().ok()
    };
    let started = ["docker-registry", "registry"].into_iter().find_map(start);
    started.ok_or_else(|| "docker-registry is not installed".to_owned())
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
