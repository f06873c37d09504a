//! Mounts of a step (rows EXC-13 to EXC-20, EXC-25, EXC-26).

use std::os::fd::OwnedFd;
use std::path::Path;

use lamina_executor::ExitStatus;
use lamina_executor::MountKind;
use lamina_executor::Root;
use lamina_executor::StepMount;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::common;
use crate::common::World;
use crate::fixture;
use crate::status;

fn mount(dest: &str, readonly: bool, kind: MountKind) -> StepMount {
    StepMount {
        dest: dest.to_owned(),
        kind,
        readonly,
    }
}

fn open(path: &Path) -> OwnedFd {
    std::fs::File::open(path).expect("a directory").into()
}

/// A stack with /dir/file and a link to it from /link.
fn data(world: &World) -> LayerStack {
    let active = world.store.prepare(&LayerStack::empty()).expect("a layer");
    let root = active.writer().root().expect("root");
    let dir = root.make_dir(b"dir", 0o755).expect("dir");
    common::write(&dir, b"file", "content\n");
    root.symlink(b"link", b"/dir/file").expect("link");
    root.symlink(b"escape", b"../../../../etc").expect("link");
    LayerStack::empty().push(active.commit(&CancelToken::new()).expect("committed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_what_the_selector_names() {
    let Some(world) = fixture() else { return };
    let stack = data(&world);
    let view = |selector: &str| MountKind::View {
        stack: stack.clone(),
        selector: selector.to_owned(),
    };
    let script = "cat /m/all/dir/file /m/dir/file /m/file /m/link; echo x 2>/dev/null > /m/all/y || \
                  echo read-only; ls /m";
    let mut spec = world.shell(script);
    spec.mounts = vec![
        mount("/m/link", false, view("/link")),
        mount("/m/file", false, view("dir/file")),
        mount("/m/dir", true, view("/dir/")),
        mount("/m/all", false, view("")),
    ];
    let (_, stdout, stderr) = world.run(spec).await;
    let expected = "content\n".repeat(4) + "read-only\nall\ndir\nfile\nlink\n";
    assert_eq!(stdout, expected, "{stderr}");
    let mut spec = world.spec(&["/bin/true"]);
    spec.mounts = vec![mount("/m", false, view("/no/such"))];
    let error = world.run(spec).await.0.err().expect("no such selector");
    assert_eq!(error.to_string(), "/no/such: no such file or directory");
}

/// Not of a tree (CVE-2024-1753) and not of a cache directory, which others may change meanwhile
/// (CVE-2024-23651, CVE-2024-9675, CVE-2024-11218).
#[tokio::test(flavor = "multi_thread")]
async fn selectors_never_leave_the_mount() {
    let Some(world) = fixture() else { return };
    let kind = MountKind::View {
        stack: data(&world),
        selector: "/escape".to_owned(),
    };
    let mut spec = world.spec(&["/bin/true"]);
    spec.mounts = vec![mount("/m", false, kind)];
    assert!(world.run(spec).await.0.is_err(), "the data has no /etc");
    let cache = world.state.path().join("cache");
    std::fs::create_dir_all(cache.join("sub")).expect("dirs");
    std::os::unix::fs::symlink("/etc", cache.join("out")).expect("link");
    let kind = MountKind::Directory {
        dir: open(&cache),
        selector: "out".to_owned(),
    };
    let mut spec = world.spec(&["/bin/true"]);
    spec.mounts = vec![mount("/m", false, kind)];
    let error = world.run(spec).await.0.err().expect("no etc in the cache");
    assert_eq!(error.to_string(), "out: no such file or directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_the_host_are_written_in_place() {
    let Some(world) = fixture() else { return };
    let cache = world.state.path().join("cache");
    std::fs::create_dir_all(cache.join("sub")).expect("dirs");
    let mut spec = world.shell("echo 1 > /root/.cache/a; echo 2 > /root/sub/b; ls /root/.cache");
    let whole = MountKind::Directory {
        dir: open(&cache),
        selector: String::new(),
    };
    let part = MountKind::Directory {
        dir: open(&cache),
        selector: "sub".to_owned(),
    };
    spec.mounts = vec![
        mount("/root/.cache", false, whole),
        mount("/root/sub", false, part),
    ];
    let (finished, stdout, stderr) = world.run(spec).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    assert_eq!(stdout, "a\nsub\n");
    assert_eq!(
        std::fs::read_to_string(cache.join("sub/b")).expect("written"),
        "2\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_mounts_come_back() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("echo new > /out/made");
    let layer = world.store.prepare(&data(&world)).expect("a layer");
    let kind = MountKind::Active {
        layer,
        selector: String::new(),
    };
    spec.mounts = vec![mount("/out", false, kind)];
    let finished = world.run(spec).await.0.expect("runs");
    let [Some(layer)] = finished.mounts.as_slice() else {
        panic!("one layer")
    };
    let made = layer
        .tree()
        .lookup(&RootedPath::new("/made"), Follow::Last)
        .expect("there");
    assert_eq!(made.stat().size, 4);
    let root = finished.root.expect("active");
    assert!(
        root.tree()
            .lookup(&RootedPath::new("/out"), Follow::Last)
            .is_err(),
        "a stub is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_files_in_memory() {
    let Some(world) = fixture() else { return };
    let script = "cat /run/secrets/s; stat -c '%a %u %g' /run/secrets/s; grep /run/secrets/s \
                  /proc/mounts | cut -d' ' -f3,4 | sed 's/,mode.*//'; echo x 2>/dev/null > \
                  /run/secrets/s || echo refused";
    let mut spec = world.shell(script);
    let kind = MountKind::Secret {
        data: b"hidden\n".to_vec(),
        uid: 5,
        gid: 6,
        mode: 0o400,
    };
    spec.mounts = vec![mount("/run/secrets/s", true, kind)];
    let (_, stdout, stderr) = world.run(spec).await;
    let mounted = "tmpfs ro,nosuid,nodev,noexec,relatime";
    assert_eq!(
        stdout,
        format!("hidden\n400 5 6\n{mounted}\nrefused\n"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tmpfs_is_empty_and_limited() {
    let Some(world) = fixture() else { return };
    let script = "ls /usr; df -k /dev/shm /usr | awk 'NR>1 {print $2}'; echo 1 > /usr/x";
    let mut spec = world.shell(script);
    spec.mounts = vec![
        mount(
            "/dev/shm",
            false,
            MountKind::Tmpfs {
                size_bytes: Some(1 << 20),
            },
        ),
        mount(
            "../usr",
            false,
            MountKind::Tmpfs {
                size_bytes: Some(2 << 20),
            },
        ),
    ];
    let (finished, stdout, stderr) = world.run(spec).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    assert_eq!(stdout, "1024\n2048\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_nest() {
    let Some(world) = fixture() else { return };
    let mut spec = world.shell("cat /a/b/file; ls /a; pwd; ls -d /a/w");
    let view = MountKind::View {
        stack: data(&world),
        selector: "/dir".to_owned(),
    };
    spec.mounts = vec![
        mount("/a/b", true, view),
        mount("/a", false, MountKind::Tmpfs { size_bytes: None }),
    ];
    spec.cwd = "/a/w".to_owned();
    let (finished, stdout, stderr) = world.run(spec).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    assert_eq!(stdout, "content\nb\nw\n/a/w\n/a/w\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_works_without_mount_points() {
    let Some(world) = fixture() else { return };
    let script = "touch /x 2>/dev/null || echo read-only; cat /etc/hosts | wc -l; touch /tmp/x && \
                  echo tmp";
    let mut spec = world.shell(script);
    spec.root = Root::ReadOnly(world.base.clone());
    spec.mounts = vec![mount("/tmp", false, MountKind::Tmpfs { size_bytes: None })];
    let (finished, stdout, stderr) = world.run(spec).await;
    let finished = finished.expect("runs");
    assert_eq!(stdout, "read-only\n2\ntmp\n", "{stderr}");
    assert!(finished.root.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandboxes_places_are_refused() {
    let Some(world) = fixture() else { return };
    for dest in ["/", "/proc/1", "/x/../proc", "/dev"] {
        let mut spec = world.spec(&["/bin/true"]);
        spec.mounts = vec![mount(dest, false, MountKind::Tmpfs { size_bytes: None })];
        let error = world.run(spec).await.0.err().expect("refused");
        let expected = format!("cannot mount at {dest}: the place is taken by the sandbox");
        assert_eq!(error.to_string(), expected);
    }
}
