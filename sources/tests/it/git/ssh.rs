//! Remotes by ssh, with the client's agent (row SRC-19).

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use lamina_session::LocalSession;
use lamina_sources::SourceRequest;
use lamina_testkit::git::Repositories;
use lamina_testkit::skipped;

use super::fail;
use crate::support::Engine;
use crate::support::paths;

const SERVER: &str = "/usr/sbin/sshd";

/// Starts a program with `/run` as the server of ssh wants it. Only machines that start services at boot
/// have it so.
const WITH_RUN: &str = "mount -t tmpfs run /run && mkdir -m 755 /run/sshd && exec \"$0\" \"$@\"";

/// A server of ssh and an agent with the one key that it takes.
struct Ssh {
    dir: tempfile::TempDir,
    port: u16,
    running: Vec<Child>,
}

impl Drop for Ssh {
    fn drop(&mut self) {
        for child in &mut self.running {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn run(program: &str, args: &[&str], dir: &Path) {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.env("SSH_AUTH_SOCK", dir.join("agent"));
    assert!(
        command.status().expect(program).success(),
        "{program} {args:?}"
    );
}

/// Waits for what a child makes or does.
fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

impl Ssh {
    /// # Errors
    /// What the machine lacks.
    fn start() -> Result<Self, &'static str> {
        if !rustix::process::geteuid().is_root() {
            return Err("a server of ssh needs root");
        }
        if !Path::new(SERVER).exists() {
            return Err("the package openssh-server is not installed");
        }
        let own_mounts = Command::new("unshare").args(["-m", "true"]).status();
        if !own_mounts.is_ok_and(|status| status.success()) {
            return Err("a server of ssh needs mounts of its own");
        }
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["host", "user"] {
            run(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f", name],
                dir.path(),
            );
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr();
        let port = port.expect("bound").port();
        let mut ssh = Self {
            dir,
            port,
            running: Vec::new(),
        };
        ssh.spawn("ssh-agent", &["-D", "-a", "agent"]);
        let agent = ssh.dir.path().join("agent");
        wait_for("the agent", || UnixStream::connect(&agent).is_ok());
        run("ssh-add", &["-q", "user"], ssh.dir.path());
        let settings = ssh.settings();
        fs::write(ssh.dir.path().join("settings"), settings).expect("written");
        let settings = ssh.dir.path().join("settings").display().to_string();
        let server = [SERVER, "-D", "-e", "-f", &settings];
        ssh.spawn(
            "unshare",
            &[&["-m", "sh", "-c", WITH_RUN], &server[..]].concat(),
        );
        wait_for("the server", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Ok(ssh)
    }

    fn spawn(&mut self, program: &str, args: &[&str]) {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running.push(command.spawn().expect(program));
    }

    fn settings(&self) -> String {
        let (dir, port) = (self.dir.path().display(), self.port);
        let path = std::env::var("PATH").expect("set");
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\n\
             AuthorizedKeysFile {dir}/user.pub\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSetEnv PATH={path}\n"
        )
    }

    fn known_hosts(&self, key: &str) -> String {
        let key = fs::read_to_string(self.dir.path().join(key)).expect("read");
        format!("[127.0.0.1]:{} {key}", self.port)
    }
}

#[test]
fn the_agent_of_the_client_opens_the_door() {
    let ssh = match Ssh::start() {
        Ok(ssh) => ssh,
        Err(reason) => return skipped(reason),
    };
    let all = Repositories::new();
    let repository = all.make("a.git", &[("f", "1")]);
    let place = repository.path.display();
    let url = format!("ssh://root@127.0.0.1:{}{place}", ssh.port);
    let agent = ssh.dir.path().join("agent");
    let session = LocalSession::builder().ssh_agent("default", agent);
    let engine = Engine::new(session);
    let wanted = SourceRequest::new("git://127.0.0.1/a.git#main")
        .attr("git.fullurl", &url)
        .attr("git.mountsshsock", "default");
    let stack = engine.get(&wanted).expect("without known hosts");
    assert_eq!(paths(&stack), ["f"]);
    let known = |key: &str| {
        wanted
            .clone()
            .attr("git.knownsshhosts", &ssh.known_hosts(key))
    };
    engine.get(&known("host.pub")).expect("a known host");
    let text = fail(&engine, &known("user.pub"));
    assert!(text.contains("Host key verification failed."), "{text}");
    // Neither the keys nor the agent of the user that this runs as.
    let nobody = Engine::new(LocalSession::builder());
    let without = SourceRequest::new("git://127.0.0.1/a.git#main").attr("git.fullurl", &url);
    let text = fail(&nobody, &without);
    assert!(text.contains("Permission denied (publickey"), "{text}");
    let text = fail(&nobody, &wanted);
    let start = "no SSH key \"default\" forwarded from the client: ";
    assert!(text.starts_with(start), "{text}");
}
