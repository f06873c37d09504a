//! What mount points leave in a layer: nothing (rows EXC-03 and EXC-10).

use std::os::fd::OwnedFd;

use lamina_executor::MountKind;
use lamina_executor::ProcessSpec;
use lamina_executor::Root;
use lamina_executor::StepMount;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::ChangeKind;
use lamina_types::CancelToken;

use crate::common::World;
use crate::fixture;

fn tmpfs(dest: &str) -> StepMount {
    let kind = MountKind::Tmpfs { size_bytes: None };
    StepMount {
        dest: dest.to_owned(),
        kind,
        readonly: false,
    }
}

/// The paths of the layer that the step leaves, deletions with a minus.
async fn changes(world: &World, spec: ProcessSpec) -> Vec<String> {
    let (finished, _, stderr) = world.run(spec).await;
    let root: ActiveLayer = finished
        .unwrap_or_else(|error| panic!("{error} {stderr}"))
        .root
        .expect("active");
    let layer = root.commit(&CancelToken::new()).expect("committed");
    layer
        .changes()
        .expect("readable")
        .map(|change| change.expect("readable"))
        .filter(|change| !change.path.is_root())
        .map(|change| match change.kind {
            ChangeKind::Whiteout => format!("-{}", change.path),
            _ => change.path.to_string(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_changes_nothing_leaves_nothing() {
    let Some(world) = fixture() else { return };
    let mut spec = world.spec(&["/bin/true"]);
    spec.mounts = vec![tmpfs("/cache"), tmpfs("/tmp/x"), tmpfs("/var/here")];
    assert_eq!(changes(&world, spec).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_stay_unless_asked() {
    let Some(world) = fixture() else { return };
    for (recursive, expected) in [(false, &["/a", "/a/b"][..]), (true, &[])] {
        let mut spec = world.spec(&["/bin/true"]);
        spec.mounts = vec![tmpfs("/a/b/c")];
        spec.remove_mount_stubs_recursive = recursive;
        assert_eq!(
            changes(&world, spec).await,
            expected,
            "recursive: {recursive}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_step_does_stays() {
    let Some(world) = fixture() else { return };
    for (name, script, expected) in [
        (
            "a file beside a stub",
            "echo x > /etc/new",
            &["/etc", "/etc/new"][..],
        ),
        (
            "a file beside a stub, gone again",
            "touch /etc/new; rm /etc/new",
            &["/etc"],
        ),
        ("the mode of a parent", "chmod 700 /etc", &["/etc"]),
        ("a deletion", "rm /etc/passwd", &["/etc", "-/etc/passwd"]),
        ("a file in the mount", "echo x > /m/x", &[]),
    ] {
        let mut spec = world.shell(script);
        spec.mounts = vec![tmpfs("/m")];
        assert_eq!(changes(&world, spec).await, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_parents_are_kept() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("stat -c %y / /etc /var");
    spec.mounts = vec![tmpfs("/var/m")];
    let (_, with_stubs, _) = world.run(spec).await;
    let tree = world.base.tree();
    let seen: Vec<i128> = ["/", "/etc", "/var"]
        .iter()
        .map(|path| {
            let path = lamina_types::RootedPath::new(path);
            let found = tree
                .lookup(&path, lamina_snapshotter::Follow::Last)
                .expect("there");
            found.stat().mtime_ns
        })
        .collect();
    let shown: Vec<i128> = with_stubs
        .lines()
        .map(|line| {
            let fraction = line.split('.').nth(1).expect("a fraction");
            fraction
                .split(' ')
                .next()
                .expect("digits")
                .parse()
                .expect("a number")
        })
        .collect();
    let expected: Vec<i128> = seen
        .iter()
        .map(|time| time.rem_euclid(1_000_000_000))
        .collect();
    assert_eq!(shown, expected, "{with_stubs}");
}

/// What is removed is the stub that was made, wherever its path leads by then (CVE-2024-23652).
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_place_of_a_stub_leads_nowhere() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("touch /etc/m; mv /made /moved; ln -s /etc /made");
    spec.mounts = vec![tmpfs("/made/m")];
    let left = changes(&world, spec).await;
    assert_eq!(left, ["/etc", "/etc/m", "/made", "/moved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_mount_points_stay_in_the_image() {
    let Some(world) = fixture() else { return };
    for (name, link, target, expected) in [
        (
            "to a place that is missing",
            "var/run",
            "/run",
            &["/run", "/var", "/var/run"][..],
        ),
        (
            "out of the root",
            "var/run",
            "../../../../run",
            &["/run", "/var", "/var/run"],
        ),
    ] {
        let layer = world.layer();
        let (dir, base) = link.split_once('/').expect("two components");
        let parent = layer
            .writer()
            .root()
            .and_then(|root| root.open_dir(dir.as_bytes()));
        parent
            .expect("dir")
            .symlink(base.as_bytes(), target.as_bytes())
            .expect("link");
        let mut spec = world.shell("echo x > /var/run/secret/f");
        spec.root = Root::Active(layer);
        spec.mounts = vec![tmpfs("/var/run/secret")];
        assert_eq!(changes(&world, spec).await, expected, "{name}");
    }
    let host = std::path::Path::new("/run/secret");
    assert!(!host.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_place_of_a_system_directory_is_refused() {
    let Some(world) = fixture() else { return };
    for name in ["proc", "sys", "dev"] {
        let layer = world.layer();
        layer
            .writer()
            .root()
            .expect("root")
            .symlink(name.as_bytes(), b"etc")
            .expect("link");
        let mut spec = world.spec(&["/bin/true"]);
        spec.root = Root::Active(layer);
        let error = world.run(spec).await.0.err().expect("refused").to_string();
        assert!(error.contains(&format!("/{name}")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_as_the_source_gets_a_file() {
    let Some(world) = fixture() else { return };
    let file = world.state.path().join("file");
    std::fs::write(&file, "text").expect("written");
    let dir: OwnedFd = std::fs::File::open(world.state.path())
        .expect("opens")
        .into();
    let kind = MountKind::Directory {
        dir,
        selector: "file".to_owned(),
    };
    let mut spec = world.shell("cat /etc/added");
    spec.mounts = vec![StepMount {
        dest: "/etc/added".to_owned(),
        kind,
        readonly: true,
    }];
    assert_eq!(changes(&world, spec).await, [""; 0]);
}
