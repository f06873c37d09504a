//! Inputs that cannot work: each gives a clear error and a non-zero exit, and nothing is lost.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::may_act_as;
use crate::harness::skip;

/// A Dockerfile that cannot be built, and what the error must name.
struct Row {
    name: &'static str,
    dockerfile: &'static str,
    parts: &'static [&'static str],
}

const fn row(name: &'static str, dockerfile: &'static str, parts: &'static [&'static str]) -> Row {
    Row {
        name,
        dockerfile,
        parts,
    }
}

const DOCKERFILES: &[Row] = &[
    row("empty file", "", &["Dockerfile"]),
    row(
        "unknown instruction",
        "FROM base\nRUNN x\n",
        &["Dockerfile:2", "RUNN", "RUN"],
    ),
    row(
        "unknown flag",
        "FROM base\nCOPY --chwn=1 a b\n",
        &["Dockerfile:2", "chwn"],
    ),
    row("no FROM", "RUN x\n", &["Dockerfile:1"]),
    row("only an ARG", "ARG A=1\n", &["no stages to build"]),
    row(
        "missing source",
        "FROM base\nCOPY nothing /x\n",
        &["Dockerfile:2", "nothing"],
    ),
    row(
        "ignored source",
        "FROM base\nCOPY ignored /x\n",
        &[
            "Dockerfile:2",
            "COPY ignored: ignored was excluded by .dockerignore line 1",
        ],
    ),
    row(
        "unknown stage as a source",
        "FROM base\nCOPY --from=9 a b\n",
        &["9"],
    ),
    row(
        "cyclic stages",
        "FROM b AS a\nFROM a AS b\nCOPY --from=c x x\nFROM b AS c\nCOPY --from=b x x\n",
        &[],
    ),
    row(
        "escaping source",
        "FROM base\nCOPY ../../../../etc/shadow /x\n",
        &["etc/shadow"],
    ),
    row(
        "escaping link",
        "FROM base\nCOPY escape/shadow /x\n",
        &["escape/shadow"],
    ),
    row(
        "missing command",
        "FROM base\nRUN [\"/no/such/program\"]\n",
        &["Dockerfile:2", "/no/such/program"],
    ),
    row(
        "failing command",
        "FROM base\nRUN exit 3\n",
        &["Dockerfile:2", "exit code: 3"],
    ),
    row(
        "killed command",
        "FROM base\nRUN sh -c 'kill -9 $$'; exit $?\n",
        &["Dockerfile:2"],
    ),
    row(
        "unknown user",
        "FROM base\nUSER nobody-here\nRUN true\n",
        &["nobody-here"],
    ),
    row(
        "bad variable",
        "FROM base\nENV A=${B:!x}\n",
        &["Dockerfile:2"],
    ),
    row(
        "required variable",
        "FROM base\nENV A=${B:?is needed}\n",
        &["is needed"],
    ),
    row("open heredoc", "FROM base\nRUN <<EOF\nx\n", &["EOF"]),
    row(
        "bad mode",
        "FROM base\nCOPY --chmod=9z a /a\n",
        &["Dockerfile:2", "9z"],
    ),
    row(
        "bad platform",
        "FROM --platform=a/b/c/d base\n",
        &["a/b/c/d"],
    ),
    row(
        "bad port",
        "FROM base\nEXPOSE 1-x\n",
        &["Dockerfile:2", "1-x"],
    ),
    row("bad signal", "FROM base\nSTOPSIGNAL NOPE\n", &["NOPE"]),
    row(
        "bad JSON in SHELL",
        "FROM base\nSHELL sh\n",
        &["Dockerfile:2"],
    ),
    row(
        "missing secret",
        "FROM base\nRUN --mount=type=secret,id=gone,required=true true\n",
        &["gone"],
    ),
    row(
        "mount on the root",
        "FROM base\nRUN --mount=type=tmpfs,target=/ true\n",
        &["Dockerfile:2"],
    ),
    row(
        "unknown mount key",
        "FROM base\nRUN --mount=type=bind,taget=/x true\n",
        &["taget"],
    ),
    row(
        "missing base in a registry",
        "FROM 127.0.0.1:1/none\n",
        &["127.0.0.1:1"],
    ),
    row("bad reference", "FROM UPPER/case:::\n", &["UPPER/case"]),
    row(
        "file onto a directory",
        "FROM base\nCOPY a /etc\nCOPY dir /etc/passwd\n",
        &["Dockerfile:3"],
    ),
];

fn prepare() -> Result<Lamina, String> {
    may_act_as(User::Root)?;
    base()?;
    let lamina = Lamina::new(User::Root);
    lamina.write("ctx/a", "a");
    lamina.write("ctx/dir/x", "x");
    lamina.write("ctx/ignored", "x");
    lamina.write("ctx/.dockerignore", "ignored\n");
    std::os::unix::fs::symlink("/etc", lamina.dir().join("ctx/escape")).expect("a link");
    Ok(lamina)
}

#[test]
fn dockerfiles_that_cannot_be_built() {
    let lamina = match prepare() {
        Ok(lamina) => lamina,
        Err(reason) => skip!("{reason}"),
    };
    for row in DOCKERFILES {
        println!("{}", row.name);
        lamina
            .build(row.dockerfile, &["-o", "out"])
            .fails_with(row.parts);
        assert!(
            !lamina.dir().join("out").exists(),
            "{}: something was exported",
            row.name
        );
        lamina.assert_clean();
    }
    // What was there before is still there.
    lamina.build("FROM base\nCOPY a /a\n", &["-o", "out"]).ok();
}

#[test]
fn command_lines_that_make_no_sense() {
    let lamina = match prepare() {
        Ok(lamina) => lamina,
        Err(reason) => skip!("{reason}"),
    };
    lamina.write("ctx/Dockerfile", "FROM base\n");
    for (args, parts) in [
        (&["build", "no-such-dir"][..], &["no-such-dir"][..]),
        (&["build", "ctx/a"], &["ctx/a", "directory"]),
        (&["build", "-f", "ctx/None", "ctx"], &["None"]),
        (&["build", "--secret", "src=x", "ctx"], &["id is required"]),
        (
            &["build", "--secret", "id=x,src=no-file", "ctx"],
            &["no-file"],
        ),
        (
            &["build", "-o", "type=zip,dest=x", "ctx"],
            &["unknown type \"zip\""],
        ),
        (&["build", "--target", "nope", "ctx"], &["nope"]),
        (
            &["build", "--platform", "moon/rock/x/y", "ctx"],
            &["moon/rock/x/y"],
        ),
        (
            &["build", "--build-context", "base=ftp://x", "ctx"],
            &["ftp://x"],
        ),
        (&["build", "--snapshotter", "nope", "ctx"], &["nope"]),
        (&["solve"], &["standard input"]),
        (&["build", "--root", "/proc/no", "ctx"], &["/proc/no"]),
    ] {
        lamina.run(args).fails_with(parts);
    }
}

#[test]
fn a_read_only_or_full_disk() {
    let lamina = match prepare() {
        Ok(lamina) => lamina,
        Err(reason) => skip!("{reason}"),
    };
    let small = lamina.dir().join("small");
    fs::create_dir(&small).expect("created");
    let mount = |args: &[&str]| {
        Command::new("mount")
            .args(args)
            .arg(&small)
            .status()
            .is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"]) {
        skip!("a tmpfs cannot be mounted");
    }
    let root = small.join("state").display().to_string();
    let big = "FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=64\n";
    lamina
        .build(big, &["--root", &root])
        .fails_with(&["No space left on device"]);
    lamina
        .build("FROM scratch\nCOPY a /a\n", &["--root", &root, "-o", "out"])
        .ok();
    assert!(mount(&["-o", "remount,ro"]), "the remount failed");
    lamina
        .build("FROM scratch\nCOPY a /b\n", &["--root", &root])
        .fails_with(&["read-only"]);
    let dest = format!("type=oci,dest={}/x.tar", small.display());
    lamina
        .build("FROM scratch\nCOPY a /b\n", &["-o", &dest])
        .fails_with(&["x.tar"]);
    let unmounted = Command::new("umount")
        .arg(&small)
        .status()
        .expect("umount runs");
    assert!(unmounted.success());
}

#[test]
fn folders_without_permission() {
    let user = User::SingleId;
    if let Err(reason) = may_act_as(user).and_then(|()| base().map(drop)) {
        skip!("{reason}");
    }
    let lamina = Lamina::new(user);
    lamina.write("ctx/Dockerfile", "FROM scratch\nCOPY f /f\n");
    let file = lamina.write("ctx/f", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).expect("permissions");
    std::os::unix::fs::chown(&file, Some(0), Some(0)).expect("chown");
    lamina
        .build_dir("ctx", &[])
        .fails_with(&["f: permission denied"]);
    lamina
        .build_dir("ctx", &["--root", "/sys/lamina"])
        .fails_with(&["/sys/lamina"]);
}

#[test]
fn registries_that_misbehave() {
    let lamina = match prepare() {
        Ok(lamina) => lamina,
        Err(reason) => skip!("{reason}"),
    };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let answer = |body: &'static str| {
        let listener = silent.try_clone().expect("cloned");
        std::thread::spawn(move || serve(&listener, body));
    };
    answer("{\"schemaVersion\":2,\"manifests\":");
    let dockerfile = format!("FROM {address}/x:1\n");
    lamina
        .build(&dockerfile, &["-o", "out"])
        .fails_with(&[&address.to_string()]);
}

/// Answers every request with `body` until the test ends.
fn serve(listener: &TcpListener, body: &str) {
    use std::io::Read as _;
    use std::io::Write as _;
    while let Ok((mut stream, _)) = listener.accept() {
        let mut request = [0; 4096];
        drop(stream.read(&mut request));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n";
        let length = body.len();
        drop(write!(
            stream,
            "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
    }
}

#[test]
fn devices_that_a_user_cannot_make() {
    for user in [User::SingleId, User::Subordinate, User::SingleIdWithFuse] {
        if let Err(reason) = may_act_as(user).and_then(|()| base().map(drop)) {
            skip!("{user:?}: {reason}");
        }
        let lamina = Lamina::new(user);
        lamina.write("ctx/Dockerfile", "FROM base\nCOPY dev/ /dev/\n");
        lamina.write("ctx/dev/file", "x");
        let made = Command::new("mknod")
            .arg(lamina.dir().join("ctx/dev/null"))
            .args(["c", "1", "3"])
            .status();
        assert!(made.expect("mknod runs").success());
        let built = lamina.build_dir("ctx", &[]);
        if user != User::Subordinate && lamina.may_open_fuse() {
            // Devices are then kept in attributes.
            built.ok();
            continue;
        }
        built.fails_with(&["/dev/null: an ordinary user cannot make device nodes"]);
        lamina.write("ctx/.dockerignore", "dev/null\n");
        lamina.build_dir("ctx", &[]).ok();
    }
}
