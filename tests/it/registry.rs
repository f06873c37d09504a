//! Push to and pull from a real registry on loopback, with and without a password.

use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::skip;

pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Registry {
    /// Starts a registry that keeps its blobs in the test's folder.
    pub(crate) fn start(lamina: &Lamina, auth: &str) -> Result<Self, String> {
        let binary = program("docker-registry").ok_or("docker-registry is missing")?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let blobs = lamina.dir().join("registry").display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {blobs}}}}}\n\
             http: {{addr: '{address}', secret: x}}\n{auth}"
        );
        let file = lamina.write("registry.yml", config);
        let process = Command::new(binary)
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let registry = Self { process, address };
        registry.wait_until_up();
        Ok(registry)
    }

    fn wait_until_up(&self) {
        let patience = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            assert!(
                patience.elapsed() < Duration::from_secs(20),
                "the registry does not start"
            );
            std::thread::yield_now();
        }
    }
}

fn prepare() -> Result<Lamina, String> {
    may_act_as(User::Root)?;
    base()?;
    let lamina = Lamina::new(User::Root);
    lamina.write("ctx/f", "content");
    Ok(lamina)
}

#[test]
fn what_is_pushed_can_be_pulled() {
    let (lamina, registry) = match prepare().and_then(|lamina| {
        let registry = Registry::start(&lamina, "")?;
        Ok((lamina, registry))
    }) {
        Ok(both) => both,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/app:1", registry.address);
    let dockerfile = "FROM base\nCOPY f /f\nENV A=b\nRUN rm /bin/wget\n";
    lamina.build(dockerfile, &["-t", &name, "--push"]).ok();

    let fresh = Lamina::new(User::Root);
    let child = format!("FROM {name}\nRUN test $A = b && cat /f > /g && test ! -e /bin/wget\n");
    fresh.build(&child, &["-o", "out"]).ok();
    assert_eq!(fresh.read("out/g"), "content");

    // A pulled layer is exported byte for byte.
    fresh
        .build(
            &format!("FROM {name}\n"),
            &["-t", &format!("{}/copy:1", registry.address), "--push"],
        )
        .ok();
    let Some(skopeo) = program("skopeo") else {
        skip!("skopeo is missing")
    };
    let layers = |name: &str| {
        let output = Command::new(&skopeo)
            .args([
                "inspect",
                "--tls-verify=false",
                &format!("docker://{}/{name}", registry.address),
            ])
            .output()
            .expect("skopeo starts");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        json["Layers"].clone()
    };
    assert_eq!(layers("app:1"), layers("copy:1"));
}

#[test]
fn a_password_is_taken_from_the_docker_config() {
    let (Ok(lamina), Some(htpasswd)) = (prepare(), program("htpasswd")) else {
        skip!("root, busybox-static and htpasswd are needed");
    };
    let output = Command::new(htpasswd)
        .args(["-Bbn", "user", "pass"])
        .output()
        .expect("htpasswd");
    let users = lamina.write("htpasswd", output.stdout);
    let auth = format!(
        "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
        users.display()
    );
    let registry = match Registry::start(&lamina, &auth) {
        Ok(registry) => registry,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/app:1", registry.address);
    let dockerfile = "FROM base\nCOPY f /f\n";
    lamina
        .build(dockerfile, &["-t", &name, "--push"])
        .fails_with(&[&registry.address]);
    // base64 of user:pass
    let config = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"dXNlcjpwYXNz\"}}}}}}",
        registry.address
    );
    lamina.write(".docker/config.json", config);
    lamina.build(dockerfile, &["-t", &name, "--push"]).ok();
    fs::remove_dir_all(lamina.root()).expect("removed");
    lamina.build(&format!("FROM {name}\n"), &["-o", "out"]).ok();
    assert_eq!(lamina.read("out/f"), "content");
}
