//! Credentials from Docker's configuration file (row SVC-10).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use lamina_session::Credentials;
use lamina_session::DockerConfig;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_session::SessionError;

use crate::wait;

/// Asks for `host` with `config` as the content of `config.json`.
fn ask(config: &str, host: &str) -> Result<Option<Credentials>, SessionError> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("config.json"), config).expect("written");
    let session = LocalSession::builder()
        .docker_config(DockerConfig::in_dir(dir.path()))
        .build();
    wait(session.credentials(host))
}

fn entry(key: &str) -> String {
    let auth = base64::engine::general_purpose::STANDARD.encode("user:hunter2");
    format!(r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#)
}

#[test]
fn hosts_are_found_under_the_names_that_docker_gives_them() {
    for (key, host, found) in [
        ("registry.test", "registry.test", true),
        ("https://registry.test", "registry.test", true),
        ("registry.test:5000", "registry.test:5000", true),
        ("registry.test:5000", "registry.test", false),
        ("https://index.docker.io/v1/", "registry-1.docker.io", true),
        ("https://index.docker.io/v1/", "docker.io", true),
        ("docker.io", "registry-1.docker.io", true),
        ("https://index.docker.io/v1/", "registry.test", false),
    ] {
        let credentials = ask(&entry(key), host).expect(key);
        let wanted = found.then(|| Credentials {
            username: "user".to_owned(),
            secret: "hunter2".to_owned(),
        });
        assert_eq!(credentials, wanted, "{host} with an entry for {key}");
    }
}

#[test]
fn identity_tokens_have_no_user_name() {
    let config = r#"{"auths": {"registry.test": {"identitytoken": "opaque"}}}"#;
    let credentials = ask(config, "registry.test").expect("readable");
    let credentials = credentials.expect("configured");
    assert!(credentials.is_identity_token());
    assert_eq!(credentials.secret, "opaque");
}

#[test]
fn no_file_no_folder_and_no_entry_mean_anonymous() {
    let session = LocalSession::builder()
        .docker_config(DockerConfig::in_dir("/no/such/folder"))
        .build();
    assert_eq!(
        wait(session.credentials("registry.test")).expect("ok"),
        None
    );
    let session = LocalSession::builder().build();
    assert_eq!(
        wait(session.credentials("registry.test")).expect("ok"),
        None
    );
    assert_eq!(ask("{}", "registry.test").expect("ok"), None);
    let logged_out = r#"{"auths": {"registry.test": {}}}"#;
    assert_eq!(ask(logged_out, "registry.test").expect("ok"), None);
}

#[test]
fn malformed_files_are_errors_that_name_host_and_file() {
    let error = ask("not json", "registry.test").expect_err("malformed");
    let text = error.to_string();
    assert!(
        text.starts_with("credentials for registry.test: "),
        "{text}"
    );
    assert!(
        text.ends_with("config.json: not a Docker configuration file"),
        "{text}"
    );
    let undecodable = r#"{"auths": {"registry.test": {"auth": "%%%"}}}"#;
    assert!(ask(undecodable, "registry.test").is_err());
}

#[test]
fn a_helper_that_does_not_exist_is_an_error() {
    let config = r#"{"credHelpers": {"registry.test": "lamina-none"}}"#;
    let error = ask(config, "registry.test").expect_err("no such program");
    assert!(error.to_string().contains("helper"), "{error}");
    assert_eq!(ask(config, "other.test").expect("not asked"), None);
}

/// The program is looked up in PATH, which only a process of its own may change.
#[test]
fn helpers_are_asked_and_may_have_nothing() {
    if std::env::var_os("LAMINA_HELPER_TEST").is_some() {
        let config = r#"{"credHelpers": {"registry.test": "have", "empty.test": "none"}}"#;
        let found = ask(config, "registry.test").expect("answers");
        assert_eq!(
            found.map(|credentials| credentials.secret).as_deref(),
            Some("from helper")
        );
        assert_eq!(ask(config, "empty.test").expect("has none"), None);
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for (name, script) in [
        (
            "have",
            r#"echo '{"ServerURL":"registry.test","Username":"u","Secret":"from helper"}'"#,
        ),
        (
            "none",
            "echo 'credentials not found in native keychain'; exit 1",
        ),
    ] {
        let path = dir.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\ncat >/dev/null\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let status = std::process::Command::new(std::env::current_exe().expect("known"))
        .args([
            "--exact",
            "credentials::helpers_are_asked_and_may_have_nothing",
        ])
        .env("LAMINA_HELPER_TEST", "1")
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .status()
        .expect("runs");
    assert!(status.success());
}

#[test]
fn debug_output_hides_the_secret() {
    let credentials = Credentials {
        username: "user".to_owned(),
        secret: "hunter2".to_owned(),
    };
    assert!(!format!("{credentials:?}").contains("hunter2"));
}
