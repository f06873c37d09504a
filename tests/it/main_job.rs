//! The main job: Dockerfiles built end to end by the embedded engine.

use std::fs;
use std::process::Command;

use crate::harness;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::skip;

/// A multi-stage build with args, a cache mount, a secret, a heredoc and copies.
pub(crate) const EVERYTHING: &str = r#"
ARG GREETING=hello
FROM base AS build
ARG GREETING
ENV TOOL=/src/tool
WORKDIR /src
COPY words/ words/
RUN --mount=type=cache,target=/cache --mount=type=secret,id=token \
    echo run >> /cache/runs && cat /run/secrets/token | wc -c > length
RUN <<EOF
set -e
printf '#!/bin/sh\necho %s %s\n' "$GREETING" "$(cat words/who.txt)" > "$TOOL"
chmod 755 "$TOOL"
EOF

FROM base
COPY --from=build /src/tool /src/length /bin/
COPY <<note /etc/note
from a heredoc
note
LABEL purpose=test
ENTRYPOINT ["/bin/tool"]
"#;

fn for_every_user(test: fn(&Lamina)) {
    harness::for_every_user(Lamina::with_base, |_, lamina| test(&lamina));
}

fn build_everything(lamina: &Lamina, args: &[&str]) {
    lamina.write("ctx/words/who.txt", "world");
    lamina.write("token", "12345");
    let mut all = vec!["--secret", "id=token,src=token"];
    all.extend_from_slice(args);
    lamina.build(EVERYTHING, &all).ok();
    lamina.assert_clean();
}

#[test]
fn a_whole_dockerfile_gives_a_working_tree() {
    for_every_user(|lamina| {
        build_everything(lamina, &["--build-arg", "GREETING=hi", "-o", "out"]);
        assert_eq!(lamina.read("out/bin/tool"), "#!/bin/sh\necho hi world\n");
        assert_eq!(lamina.read("out/bin/length").trim(), "5");
        assert_eq!(lamina.read("out/etc/note"), "from a heredoc\n");
        assert!(
            !lamina.dir().join("out/run/secrets").exists(),
            "a secret's place is in the layer"
        );
        assert!(
            !lamina.dir().join("out/etc/hosts").exists(),
            "a mount stub is in the layer"
        );
    });
}

#[test]
fn the_result_runs_in_a_real_runtime() {
    if let Err(reason) = may_act_as(User::Root).and_then(|()| base().map(drop)) {
        skip!("{reason}");
    }
    let (Some(umoci), Some(runtime)) = (program("umoci"), program("runc").or(program("crun")))
    else {
        skip!("umoci and one of crun and runc are needed");
    };
    let lamina = Lamina::new(User::Root);
    build_everything(&lamina, &["-t", "app:1", "-o", "type=oci,dest=app.tar"]);
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(lamina.dir())
            .output()
            .expect("starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    fs::create_dir(lamina.dir().join("layout")).expect("created");
    run("tar", &["-xf", "app.tar", "-C", "layout"]);
    let umoci = umoci.to_str().expect("text");
    run(umoci, &["unpack", "--image", "layout:1", "bundle"]);
    run(
        "sed",
        &[
            "-i",
            "s/\"terminal\": true/\"terminal\": false/",
            "bundle/config.json",
        ],
    );
    let id = format!("lamina-test-{}", std::process::id());
    let runtime = runtime.to_str().expect("text");
    assert_eq!(
        run(runtime, &["run", "--bundle", "bundle", &id]),
        "hello world\n"
    );
}

#[test]
fn a_second_build_runs_nothing() {
    for_every_user(|lamina| {
        build_everything(lamina, &["-o", "out"]);
        lamina.write("ctx/words/who.txt", "world");
        let again = lamina
            .build(EVERYTHING, &["--secret", "id=token,src=token"])
            .ok();
        assert!(again.cached() >= 5, "{}", again.stderr);
        assert!(!again.stderr.contains(" DONE 1"), "{}", again.stderr);
    });
}

#[test]
fn a_changed_file_reruns_what_depends_on_it() {
    for_every_user(|lamina| {
        let dockerfile = "FROM base\nRUN echo first\nCOPY a /a\nRUN echo second\n\
                          FROM base\nCOPY b /b\nRUN echo third\nCOPY --from=0 /a /c\n";
        lamina.write("ctx/a", "1");
        lamina.write("ctx/b", "1");
        let fresh = lamina.build(dockerfile, &[]).ok();
        assert!(
            fresh.printed("second") && fresh.printed("third"),
            "{}",
            fresh.stderr
        );
        lamina.write("ctx/a", "2");
        let changed = lamina.build(dockerfile, &["-o", "out"]).ok();
        assert!(changed.printed("second"), "{}", changed.stderr);
        assert!(
            !changed.printed("first") && !changed.printed("third"),
            "{}",
            changed.stderr
        );
        assert_eq!(lamina.read("out/c"), "2");
    });
}

#[test]
fn stages_with_equal_inputs_share_a_step() {
    for_every_user(|lamina| {
        lamina.write("ctx/a", "same");
        lamina.write("ctx/b/a", "same");
        let dockerfile = "FROM base AS one\nCOPY a /x\nRUN cat /proc/sys/kernel/random/uuid > /id\n\
                          FROM base AS two\nCOPY b/a /x\n\
                          RUN cat /proc/sys/kernel/random/uuid > /id\n\
                          FROM scratch\nCOPY --from=one /id /1\nCOPY --from=two /id /2\n";
        lamina.build(dockerfile, &["-o", "out"]).ok();
        assert_eq!(lamina.read("out/1"), lamina.read("out/2"));
    });
}

#[test]
fn a_failing_step_is_explained() {
    for_every_user(|lamina| {
        let failed = lamina.build("FROM base\nRUN echo clue; exit 7\n", &["-o", "out"]);
        failed.fails_with(&[
            "Dockerfile:2",
            ">>> RUN echo clue; exit 7",
            " clue",
            "did not complete successfully: exit code: 7",
        ]);
        assert_eq!(failed.code, Some(7));
        assert!(!lamina.dir().join("out").exists());
        lamina.assert_clean();
    });
}

#[test]
fn archives_and_trees_come_on_standard_output() {
    for_every_user(|lamina| {
        lamina.write("ctx/f", "x");
        let tar = lamina
            .build("FROM scratch\nCOPY f /f\n", &["-o", "type=tar,dest=-"])
            .ok();
        let names: Vec<String> = list_tar(&tar.stdout);
        assert_eq!(names, ["f"]);
    });
}

fn list_tar(bytes: &[u8]) -> Vec<String> {
    use std::io::Write as _;
    let mut tar = Command::new("tar")
        .arg("-t")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("tar starts");
    tar.stdin
        .take()
        .expect("a pipe")
        .write_all(bytes)
        .expect("written");
    let output = tar.wait_with_output().expect("tar ends");
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn exports_are_the_same_from_run_to_run() {
    for_every_user(|lamina| {
        lamina.write("ctx/d/f", "x".repeat(100_000));
        let dockerfile = "FROM scratch\nCOPY d/ /\nCOPY d/f /g\n";
        let args = |dest: &'static str| ["--build-arg", "SOURCE_DATE_EPOCH=1", "-o", dest];
        lamina.build(dockerfile, &args("type=oci,dest=1.tar")).ok();
        lamina.build(dockerfile, &args("type=oci,dest=2.tar")).ok();
        fs::remove_dir_all(lamina.root()).expect("removed");
        lamina.build(dockerfile, &args("type=oci,dest=3.tar")).ok();
        let read = |name: &str| fs::read(lamina.dir().join(name)).expect(name);
        assert!(read("1.tar") == read("2.tar"), "a second export differs");
        assert!(
            read("1.tar") == read("3.tar"),
            "an export of a fresh build differs"
        );
    });
}
