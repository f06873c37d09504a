//! Repositories of git, and servers for them, on this machine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

use crate::server::Call;
use crate::server::Reply;
use crate::server::Server;

/// When every commit of the tests was made.
pub const COMMITTED: i64 = 1_700_000_000;

/// A folder of repositories.
pub struct Repositories {
    /// Where they are.
    pub dir: TempDir,
}

/// One repository with files.
pub struct Repository {
    /// Where the files are.
    pub path: PathBuf,
}

impl Default for Repositories {
    fn default() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir }
    }
}

impl Repositories {
    /// Makes a folder without any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a repository with one commit of these files.
    pub fn make(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        self.make_as(name, files, &[])
    }

    /// As [`Self::make`], with options for `git init`.
    pub fn make_as(&self, name: &str, files: &[(&str, &str)], options: &[&str]) -> Repository {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("made");
        let repository = Repository { path };
        repository.git(&[&["init", "--quiet", "--initial-branch=main"], options].concat());
        repository.commit(files);
        repository
    }

    /// Serves them by git's own program.
    #[must_use]
    pub fn serve(&self) -> Server {
        let root = self.dir.path().to_owned();
        Server::start(move |call| backend(&root, call))
    }

    /// Serves them as plain files.
    #[must_use]
    pub fn serve_files(&self) -> Server {
        let root = self.dir.path().to_owned();
        Server::start(move |call| {
            let path = call.target.split('?').next().unwrap_or_default();
            match fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(data) => Reply::new(200, data),
                Err(_) => Reply::new(404, ""),
            }
        })
    }
}

impl Repository {
    /// Runs git in it; returns what it printed.
    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(&self.path).args(args).env_clear();
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let date = format!("{COMMITTED} +0000");
        let out = command
            .envs([
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
            ])
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@h.test")])
            .envs([
                ("GIT_COMMITTER_NAME", "A"),
                ("GIT_COMMITTER_EMAIL", "a@h.test"),
            ])
            .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
            .output()
            .expect("git is there");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "git {args:?}: {said}");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Commits these files beside those that are there; returns the commit.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            write(&self.path.join(path), content);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=m"]);
        self.head()
    }

    /// Returns the commit that is checked out.
    #[must_use]
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Answers as a web server with `git http-backend` does, for the repositories below `root`.
#[must_use]
pub fn backend(root: &Path, call: &Call) -> Reply {
    let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &call.method)
        .env("CONTENT_TYPE", call.header("content-type"))
        .env("CONTENT_LENGTH", call.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", call.header("content-encoding"))
        .env("GIT_PROTOCOL", call.header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = call.body.clone();
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let out = child.wait_with_output().expect("ends").stdout;
    feeding.join().expect("fed");
    reply(&out)
}

fn reply(out: &[u8]) -> Reply {
    let end = out.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        return Reply::new(500, "");
    };
    let head = String::from_utf8_lossy(&out[..end]).into_owned();
    let mut reply = Reply::new(200, &out[end + 4..]);
    for line in head.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        match name {
            "Status" => reply.status = value[..3].parse().expect("a number"),
            _ => reply = reply.header(name, value),
        }
    }
    reply
}

fn write(path: &Path, content: &str) {
    let folder = path.parent().expect("below the repository");
    fs::create_dir_all(folder).expect("made");
    fs::write(path, content).expect("written");
}
