//! Users and groups of hostile images.

use std::io::Write;

use lamina_executor::MountKind;
use lamina_executor::Root;
use lamina_executor::StepMount;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::WriteDir;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::common::World;
use crate::fixture;

/// Makes something of /etc.
type Fill = Box<dyn Fn(&WriteDir)>;

fn etc(layer: &ActiveLayer) -> WriteDir {
    let root = layer.writer().root().expect("root");
    root.remove(b"etc").expect("gone");
    root.make_dir(b"etc", 0o755).expect("etc")
}

fn image(world: &World, fill: impl Fn(&WriteDir)) -> Root {
    let layer = world.layer();
    fill(&etc(&layer));
    Root::Active(layer)
}

/// What is read of the image is a regular file of some size, or nothing: a step neither hangs nor
/// takes the daemon's memory (CVE-2024-9676, GHSA-72x6-4j93-7w86).
#[tokio::test(flavor = "multi_thread")]
async fn user_files_that_are_none_are_refused() {
    let Some(world) = fixture() else { return };
    let node = |kind| {
        move |etc: &WriteDir| {
            etc.make_node(b"passwd", &Stat::new(kind, 0o644))
                .expect("made");
        }
    };
    let link = |target: &'static str| {
        move |etc: &WriteDir| {
            etc.symlink(b"passwd", target.as_bytes()).expect("made");
        }
    };
    let huge = |etc: &WriteDir| {
        let file = etc.create_file(b"passwd", 0o644).expect("made");
        file.set_len(1 << 40).expect("grown");
    };
    let cases: [(&str, Fill, &str); 6] = [
        ("a pipe", Box::new(node(FileKind::Fifo)), "/etc/passwd"),
        ("a socket", Box::new(node(FileKind::Socket)), "/etc/passwd"),
        (
            "an endless file",
            Box::new(link("/dev/zero")),
            "unable to find user app",
        ),
        (
            "the host's",
            Box::new(link("../../../../../etc/passwd")),
            "/etc/passwd",
        ),
        (
            "the daemon's",
            Box::new(link("/proc/self/environ")),
            "unable to find user app",
        ),
        ("a terabyte", Box::new(huge), "larger than 10485760 bytes"),
    ];
    for (name, fill, expected) in cases {
        let mut spec = world.spec(&["/bin/true"]);
        spec.root = image(&world, fill);
        spec.user = "app".to_owned();
        let run = tokio::time::timeout(std::time::Duration::from_secs(20), world.run(spec));
        let (finished, ..) = run.await.expect(name);
        let error = finished.err().expect(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// As many entries as fit cost some tens of bytes each, and an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_users_are_looked_through() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("id -u");
    spec.root = image(&world, |etc| {
        let mut passwd = etc.create_file(b"passwd", 0o644).expect("made");
        let lines = "a:x:1:1\n".repeat(1_300_000);
        passwd.write_all(lines.as_bytes()).expect("written");
        passwd.write_all(b"z:x:77:1::/:/bin/sh\n").expect("written");
    });
    spec.user = "z".to_owned();
    let (finished, stdout, stderr) = world.run(spec).await;
    assert!(finished.is_ok(), "{stderr}");
    assert_eq!(stdout, "77\n");
}

/// The number that means "unchanged" to the kernel would leave a step root.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_that_means_unchanged_is_nobody() {
    let Some(world) = fixture() else { return };
    for user in [
        "4294967295:0",
        "0:4294967295",
        "4294967295",
        "max",
        "app:most",
    ] {
        let mut spec = world.shell("id");
        spec.root = image(&world, |etc| {
            crate::common::write(etc, b"passwd", "max:x:4294967295:0::/:/bin/sh\napp:x:1:1\n");
            crate::common::write(etc, b"group", "most:x:4294967295:\n");
        });
        spec.user = user.to_owned();
        let (finished, stdout, _) = world.run(spec).await;
        let error = finished.err().unwrap_or_else(|| panic!("{user}: {stdout}"));
        let expected = "uids and gids must be in range 0-2147483647";
        assert_eq!(error.to_string(), expected, "{user}");
    }
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
        let mut spec = world.spec(&["/bin/true"]);
        let kind = MountKind::Secret {
            data: Vec::new(),
            uid,
            gid,
            mode: 0o400,
        };
        spec.mounts = vec![StepMount {
            dest: "/s".to_owned(),
            kind,
            readonly: true,
        }];
        assert!(world.run(spec).await.0.is_err(), "{uid} {gid}");
    }
}
