//! A Debian root made by debootstrap as a named context, and packages installed in it by apt: on what the
//! engine takes by itself, and on FUSE.
//!
//! The mirror, its keys and the proxy are those of this machine's own package manager; a machine
//! without them, or whose mirror does not answer, skips the test.

mod apt;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::Finished;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::report;
use crate::harness::skip;
use crate::scratch::scratch;
use apt::Source;

/// So many seconds debootstrap may take before the mirror counts as one that does not answer.
const DEBOOTSTRAP_SECONDS: &str = "180";

/// So many seconds a build may take.
const BUILD_SECONDS: &str = "120";

/// Where the machine's keys and certificates are in the container.
const KEYRING: &str = "/etc/apt/keyrings/machine";
const CERTIFICATES: &str = "/etc/apt/machine-certificates";

/// The last step has dpkg compare what is there with what it installed, and shows whose the folder
/// is that apt gives to a user of its own.
const DOCKERFILE: &str = "\
FROM debian
RUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
COPY apt/ /etc/apt/
RUN apt-get update && apt-get install -y --no-install-recommends hello tcc libc6-dev && hello
RUN dpkg --verify && dpkg -s hello tcc && stat -c '%U %a' /var/lib/apt/lists/partial \
    && hello > /greeting
RUN printf '#include <stdio.h>\\nint main(void) { return puts(\"compiled\") < 0; }\\n' > /a.c \
    && tcc -o /a /a.c && /a
";

/// Who builds, and the values of `--snapshotter` that they can use.
const CASES: [(User, &str); 4] = [
    (User::Root, "auto"),
    (User::Root, "fuse"),
    (User::Subordinate, "auto"),
    (User::Subordinate, "fuse"),
];

/// The root file system and what a container needs to install more into it.
struct Debian {
    root: TempDir,
    source: Source,
    settings: String,
}

impl Debian {
    /// Runs debootstrap, or says why that cannot be done here.
    fn make() -> Result<Self, String> {
        for tool in ["debootstrap", "timeout", "unshare"] {
            program(tool).ok_or(format!("{tool} is missing"))?;
        }
        let suite = suite().ok_or("/etc/os-release names no suite")?;
        let source = apt::source_of(&suite).ok_or(format!("no package source has {suite}"))?;
        let root = scratch();
        let settings = apt::network_settings();
        debootstrap(&source, &settings, root.path())?;
        make_readable(root.path());
        Ok(Self {
            root,
            source,
            settings,
        })
    }

    /// Writes the build's context: the machine's way to its packages, for the folder /etc/apt.
    fn write_context(&self, lamina: &Lamina) {
        let mut settings = self.settings.clone();
        let put = |file: &Path, place: &str| {
            let name = place.strip_prefix("/etc/apt/").expect("below it");
            let content =
                fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            lamina.write(&format!("ctx/apt/{name}"), content);
        };
        let keyring = self.source.keyring.as_ref().map(|file| {
            // The name tells whether keys are armored.
            let place = format!("{KEYRING}.{}", extension(file));
            put(file, &place);
            place
        });
        let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if self.source.uri.starts_with("https") && certificates.exists() {
            put(certificates, CERTIFICATES);
            settings += &format!("Acquire::https::CaInfo \"{CERTIFICATES}\";\n");
        }
        lamina.write("ctx/apt/sources.list", self.source.line(keyring.as_deref()));
        lamina.write("ctx/apt/apt.conf.d/99machine", settings);
        lamina.write("ctx/Dockerfile", DOCKERFILE);
    }

    fn build(&self, lamina: &Lamina, snapshotter: &str) -> Finished {
        let context = format!("debian={}", self.root.path().display());
        let mut args = vec!["build", "--build-context", &context, "-o", "out"];
        args.extend(["--snapshotter", snapshotter]);
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if std::env::var_os(name).is_some() {
                args.extend(["--build-arg", name]);
            }
        }
        args.push("ctx");
        lamina.run_within(BUILD_SECONDS, &args)
    }
}

/// Returns the name of the release that this machine runs.
fn suite() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Returns the extension of a keyring's name.
fn extension(file: &Path) -> &str {
    file.extension()
        .and_then(std::ffi::OsStr::to_str)
        .unwrap_or("gpg")
}

/// Runs debootstrap in a mount namespace of its own, so that nothing it mounts outlives it.
fn debootstrap(source: &Source, settings: &str, root: &Path) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", DEBOOTSTRAP_SECONDS]);
    command.args(["unshare", "-m", "debootstrap", "--variant=minbase"]);
    if let Some(file) = &source.keyring {
        command.arg("--keyring").arg(file);
    }
    if source.trusted {
        command.arg("--no-check-gpg");
    }
    for (variable, name) in [
        ("http_proxy", "Acquire::http::Proxy"),
        ("https_proxy", "Acquire::https::Proxy"),
    ] {
        if let Some(proxy) = apt::setting(settings, name).filter(|proxy| proxy != "DIRECT") {
            command.env(variable, proxy);
        }
    }
    command.arg(&source.suite).arg(root).arg(&source.uri);
    let started = Instant::now();
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = said.lines().last().unwrap_or_default();
    let (status, took) = (output.status, started.elapsed().as_secs());
    Err(format!(
        "debootstrap failed after {took} s ({status}): {last}"
    ))
}

/// Makes the tree one that any user can send: all of it readable, and without devices, which a
/// user namespace cannot make.
fn make_readable(root: &Path) {
    let script = "chmod -R a+rX \"$1\" && find \"$1\" -xdev '(' -type b -o -type c ')' -delete";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(root)
        .status();
    assert!(
        status.expect("sh starts").success(),
        "the root was not made readable"
    );
}

/// Returns what in a folder of the test's does not belong to the user who runs the test.
fn of_others(lamina: &Lamina, folder: &str) -> Vec<PathBuf> {
    let mut others = Vec::new();
    let mut left = vec![lamina.dir().join(folder)];
    let owner = |path: &Path| fs::symlink_metadata(path).expect("is there").uid();
    let user = owner(lamina.dir());
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.is_symlink() {
            let entries = fs::read_dir(&path).expect("readable");
            left.extend(entries.map(|entry| entry.expect("readable").path()));
        }
        if owner(&path) != user {
            others.push(path);
        }
    }
    others
}

/// Installs packages as a user by a backend, or says what is missing.
fn check(debian: &Debian, user: User, snapshotter: &str) -> Result<(), String> {
    may_act_as(user)?;
    let lamina = Lamina::new(user);
    if snapshotter == "fuse" && !lamina.may_open_fuse() {
        return Err("/dev/fuse is missing, or not for everybody".to_owned());
    }
    debian.write_context(&lamina);
    let built = debian.build(&lamina, snapshotter).ok();
    assert!(built.printed("Hello, world!"), "{}", built.stderr);
    assert!(built.printed("_apt 700"), "{}", built.stderr);
    assert!(built.printed("compiled"), "{}", built.stderr);
    assert_eq!(lamina.read("out/greeting"), "Hello, world!\n");
    // What packages give to users of the image is in the output the caller's (row ELO-07).
    assert_eq!(of_others(&lamina, "out"), Vec::<PathBuf>::new());
    lamina.assert_clean();
    let again = debian.build(&lamina, snapshotter).ok();
    assert_eq!(again.cached(), 5, "{}", again.stderr);
    Ok(())
}

#[test]
fn packages_are_installed_in_a_debian_root() {
    if let Err(reason) = may_act_as(User::Root) {
        skip!("{reason}");
    }
    let debian = match Debian::make() {
        Ok(debian) => debian,
        Err(reason) => skip!("{reason}"),
    };
    for (user, snapshotter) in CASES {
        let started = Instant::now();
        match check(&debian, user, snapshotter) {
            Ok(()) => report(&format!(
                "{user:?}, {snapshotter}: {:.1?}",
                started.elapsed()
            )),
            Err(reason) => report(&format!("skipped: {user:?}, {snapshotter}: {reason}")),
        }
    }
}
