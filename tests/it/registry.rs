//! Push to and pull from a real registry on loopback, with and without a password.

use std::fs;
use std::process::Command;

use lamina_testkit::docker_registry::DockerRegistry;
use lamina_testkit::docker_registry::Users;

use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::skip;

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
        let registry = DockerRegistry::try_start(Users::Everyone)?;
        Ok((lamina, registry))
    }) {
        Ok(both) => both,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/app:1", registry.host);
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
            &["-t", &format!("{}/copy:1", registry.host), "--push"],
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
                &format!("docker://{}/{name}", registry.host),
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
    let (lamina, registry) = match prepare().and_then(|lamina| {
        let registry = DockerRegistry::try_start(Users::One("user", "pass"))?;
        Ok((lamina, registry))
    }) {
        Ok(both) => both,
        Err(reason) => skip!("{reason}"),
    };
    let name = format!("{}/app:1", registry.host);
    let dockerfile = "FROM base\nCOPY f /f\n";
    lamina
        .build(dockerfile, &["-t", &name, "--push"])
        .fails_with(&[&registry.host]);
    // base64 of user:pass
    let config = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"dXNlcjpwYXNz\"}}}}}}",
        registry.host
    );
    lamina.write(".docker/config.json", config);
    lamina.build(dockerfile, &["-t", &name, "--push"]).ok();
    fs::remove_dir_all(lamina.root()).expect("removed");
    lamina.build(&format!("FROM {name}\n"), &["-o", "out"]).ok();
    assert_eq!(lamina.read("out/f"), "content");
}
