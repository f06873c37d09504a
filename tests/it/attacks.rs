//! Dockerfiles that were written to get out, by root and by ordinary users (docs/security.md).

use std::fs;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Lamina;
use crate::harness::for_every_user;

/// What is in a file of the host's beside the state folder; no build may see it.
const SECRET: &str = "only-the-host-knows";

/// How long two steps race for what they share.
const RACE_SECONDS: u64 = 3;

/// Puts the secret where anybody could read it, and returns the folder.
fn host(lamina: &Lamina) -> String {
    lamina.write("host/secret", SECRET);
    lamina.write("host/d/secret", SECRET);
    format!("{}/host", lamina.dir().display())
}

/// Parts of stages and caches that are links to the host's files are those of the image, where there
/// are none (CVE-2024-1753 and GHSA-pmf3-c36m-g5cf, CVE-2024-9675 and GHSA-586p-749j-fhwp, CVE-2024-23651).
#[test]
fn parts_of_mounts_do_not_lead_to_the_host() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let host = host(&lamina);
        let head = format!(
            "FROM base AS evil\n\
             RUN --mount=type=cache,id=c,target=/c ln -sfn {host} /c/to && ln -sfn {host} /to && \
             ln -sfn ../../../../../../..{host} /up\n\
             FROM base\nCOPY --from=evil /bin/true /after\n"
        );
        for (name, mount) in [
            ("a stage", "type=bind,from=evil,source=/to"),
            ("a stage, by dots", "type=bind,from=evil,source=/up"),
            ("a stage, further on", "type=bind,from=evil,source=/to/d"),
            ("a cache", "type=cache,id=c,source=to"),
            ("a cache on a stage", "type=cache,id=d,from=evil,source=/to"),
        ] {
            let run =
                format!("RUN --mount={mount},target=/m ls -R /m; cat /m/secret /m/d/secret\n");
            let built = lamina.build(&format!("{head}{run}"), &["--no-cache"]);
            assert_ne!(built.code, Some(0), "{user:?}: {name}");
            assert!(!built.stderr.contains(SECRET), "{name}: {}", built.stderr);
        }
    });
}

/// A step exchanges a part of a cache for a link to the host, while others have it mounted
/// (CVE-2024-23651, CVE-2024-11218).
#[test]
fn racing_steps_of_one_build_see_no_more() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let host = host(&lamina);
        let uptime = fs::read_to_string("/proc/uptime").expect("read");
        let now: u64 = uptime
            .split('.')
            .next()
            .expect("seconds")
            .parse()
            .expect("a number");
        let begin = Instant::now();
        let (mut rounds, mut looks) = (0, 0);
        while begin.elapsed() < Duration::from_secs(RACE_SECONDS) {
            let dockerfile = race(&host, rounds, now + RACE_SECONDS);
            // Where the part is a link, it is not there, and the build ends.
            let built = lamina.build(&dockerfile, &["--no-cache"]);
            assert!(!built.stderr.contains(SECRET), "{user:?}: {}", built.stderr);
            looks += built.stderr.matches("it is there\n").count();
            rounds += 1;
        }
        println!("{user:?}: looked {looks} times in {rounds} rounds");
    });
}

/// Exchanges a part of a cache until `end`, in seconds since the machine's start, and looks at it
/// meanwhile.
fn race(host: &str, round: u32, end: u64) -> String {
    let cache = format!("--mount=type=cache,id=race{round}");
    let swap = format!(
        "while [ $(cut -d. -f1 /proc/uptime) -lt {end} ]; do mv /c/d /c/x; ln -sn {host} /c/d; \
         rm /c/d; mv /c/x /c/d; sleep 0.01; done"
    );
    let mut dockerfile = format!(
        "FROM base AS begin\nRUN {cache},target=/c mkdir -p /c/d\n\
         FROM begin AS swap\nRUN {cache},target=/c {swap}\nFROM begin AS look\n"
    );
    for number in 0..20 {
        let look = "echo it is there; cat /m/secret /m/*/secret 2>/dev/null || true";
        dockerfile += &format!("RUN {cache},source=d,target=/m : {number}; {look}\n");
    }
    dockerfile + "FROM base\nCOPY --from=swap /bin/true /1\nCOPY --from=look /bin/true /2\n"
}

/// What is removed after a step is what was made for it (CVE-2024-23652).
#[test]
fn mount_points_are_removed_in_the_image_only() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let host = host(&lamina);
        let empty = lamina.dir().join("host/empty");
        fs::create_dir(&empty).expect("made");
        let dockerfile = format!(
            "FROM base\n\
             RUN --mount=type=tmpfs,target=/made/empty mv /made /gone && ln -s {host} /made\n\
             RUN --mount=type=secret,id=s,target=/file/secret mv /file /gone2 && ln -s {host} /file\n"
        );
        lamina.write("s", "x");
        lamina.build(&dockerfile, &["--secret", "id=s,src=s"]).ok();
        assert!(empty.exists(), "{user:?}");
        assert_eq!(lamina.read("host/secret"), SECRET);
    });
}

/// Users by name are looked up in files of the image, whatever those are: for steps and for copies
/// (CVE-2024-9676, GHSA-wq2p-5pc6-wpgf).
#[test]
fn users_of_hostile_images_neither_hang_nor_fill_memory() {
    for_every_user(Lamina::with_base, |user, lamina| {
        for (name, made) in [
            ("a pipe", "mkfifo /etc/passwd"),
            (
                "a link to the host",
                "ln -s ../../../../../../etc/passwd /etc/passwd",
            ),
            ("a link to itself", "ln -s passwd /etc/passwd"),
            ("an endless device", "ln -s /dev/zero /etc/passwd"),
            ("a folder", "mkdir /etc/passwd"),
            ("too much", "dd if=/dev/zero of=/etc/passwd bs=1M count=11"),
        ] {
            for (what, used) in [
                ("USER", "USER somebody\nRUN true"),
                ("--chown", "COPY --chown=somebody Dockerfile /d"),
                ("--chown group", "COPY --chown=0:somebody Dockerfile /d"),
            ] {
                let group = "rm -f /etc/group && ln -s passwd /etc/group";
                let dockerfile =
                    format!("FROM base\nRUN rm -f /etc/passwd && {made} && {group}\n{used}\n");
                lamina.write("ctx/Dockerfile", dockerfile);
                let base = crate::harness::base().expect("there").display().to_string();
                let base = format!("base={base}");
                let built = lamina.run_within("60", &["build", "--build-context", &base, "ctx"]);
                // An owner is no one's if there is no such file; of one that hung, the code is another.
                let has_ended = matches!(built.code, Some(0 | 1));
                assert!(has_ended, "{user:?}: {name}, {what}: {}", built.stderr);
                assert!(!built.stderr.contains("panic"), "{name}: {}", built.stderr);
            }
        }
    });
}

/// The number that means "as it is" to the kernel is no owner.
#[test]
fn the_number_that_means_unchanged_is_no_owner() {
    for_every_user(Lamina::with_base, |user, lamina| {
        for (used, code) in [
            ("USER 4294967295:0\nRUN id -u", 1),
            // As under chown(1): the file keeps its owner.
            (
                "COPY --chown=4294967295:4294967295 Dockerfile /d\nRUN stat -c %u /d",
                0,
            ),
        ] {
            let built = lamina.build(&format!("FROM base\n{used}\n"), &["--no-cache"]);
            assert_eq!(built.code, Some(code), "{user:?}: {}", built.stderr);
            assert!(!built.stderr.contains("panic"), "{}", built.stderr);
        }
    });
}

/// Working directories are in the image, by whatever they are reached (CVE-2024-21626,
/// GHSA-q6r4-3wmg-fwcq).
#[test]
fn working_directories_are_in_the_image() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let host = host(&lamina);
        for (name, before, dir) in [
            (
                "a descriptor",
                "true".to_owned(),
                "/proc/self/fd/7".to_owned(),
            ),
            (
                "up",
                format!("ln -s ../../../../../../..{host} /w"),
                "/w/d".to_owned(),
            ),
            ("a link", format!("ln -s {host} /w"), "/w/d".to_owned()),
            (
                "a descriptor by a link",
                "ln -s /proc/self/fd/8/../.. /w".to_owned(),
                "/w".to_owned(),
            ),
        ] {
            let dockerfile = format!(
                "FROM base\nRUN {before}\nWORKDIR {dir}\nRUN ls -a; cat secret ../secret || true\n"
            );
            let built = lamina.build(&dockerfile, &["--no-cache"]);
            assert!(
                !built.stderr.contains(SECRET),
                "{user:?}: {name}: {}",
                built.stderr
            );
        }
        assert_eq!(fs::read_dir(&host).expect("there").count(), 2, "{user:?}");
    });
}

/// Nothing of the environment that the command runs in is a step's: not by name and not by what can be
/// read (CVE-2021-3602).
#[test]
fn the_environment_stays_outside() {
    for_every_user(Lamina::with_base, |user, lamina| {
        let script = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'";
        lamina.write("ctx/Dockerfile", format!("FROM base\nRUN {script}\n"));
        let mut command = lamina.build_command("ctx", &[]);
        command.env("REGISTRY_PASSWORD", SECRET);
        let built = crate::harness::Finished::new(command.output().expect("starts")).ok();
        assert!(built.stderr.contains("PATH="), "{}", built.stderr);
        assert!(!built.stderr.contains(SECRET), "{user:?}: {}", built.stderr);
    });
}
