//! Images and mounts that lead the sandbox's own mounts elsewhere.

use lamina_executor::MountKind;
use lamina_executor::ProcessSpec;
use lamina_executor::Root;
use lamina_executor::StepMount;

use super::SECRET;
use super::directory;
use super::tmpfs;
use crate::Fixture;
use crate::common::World;
use crate::fixture;

/// A step on an image with these links.
fn with_links(world: &World, links: &[(&str, &str)], mut spec: ProcessSpec) -> ProcessSpec {
    let layer = world.layer();
    let root = layer.writer().root().expect("root");
    for (name, target) in links {
        root.symlink(name.as_bytes(), target.as_bytes())
            .expect("link");
    }
    drop(root);
    spec.root = Root::Active(layer);
    spec
}

/// A link of the image takes a mount to `/proc`, where it would hide what is masked, or catch what
/// is written there (CVE-2025-52881, CVE-2025-31133).
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_mounted_in_proc_through_a_link() {
    let Some(world) = fixture() else { return };
    for (name, target, dest) in [
        ("itself", "/proc", "/x"),
        ("a setting", "/proc", "/x/sys"),
        ("a process", "/proc/self", "/x/attr"),
        ("by many ways", "../.././proc/", "/x/fs"),
    ] {
        let mut spec = with_links(&world, &[("x", target)], world.spec(&["/bin/true"]));
        spec.mounts = vec![tmpfs(dest)];
        let error = world.run(spec).await.0.err().expect(name).to_string();
        assert!(
            error.contains(&format!("mount at {dest}")),
            "{name}: {error}"
        );
    }
}

/// What covers files of the kernel is the null device and nothing else: `/dev/null` was exchanged to
/// have them show, or written to (CVE-2025-31133).
#[tokio::test(flavor = "multi_thread")]
async fn files_are_masked_with_the_null_device_only() {
    let Some(world) = fixture() else { return };
    let own = world.state.path().join("own");
    std::fs::create_dir(&own).expect("made");
    std::fs::write(own.join("file"), "mine").expect("written");
    for dest in ["/dev/null", "/x/null"] {
        let mut spec = with_links(&world, &[("x", "/dev")], world.shell("cat /proc/kcore"));
        spec.mounts = vec![directory(dest, &own, "file")];
        let error = world.run(spec).await.0.err().expect(dest).to_string();
        assert!(
            error.contains("/dev/null is not the null device"),
            "{error}"
        );
    }
    // An image has no say in it: its /dev is covered first.
    let layer = world.layer();
    let dev = layer
        .writer()
        .root()
        .and_then(|root| root.make_dir(b"dev", 0o755));
    dev.expect("dev")
        .symlink(b"null", b"/etc/passwd")
        .expect("link");
    let mut spec = world.shell("cat /proc/kcore | wc -c; stat -c %F /dev/null");
    spec.root = Root::Active(layer);
    let (_, stdout, stderr) = world.run(spec).await;
    assert_eq!(stdout, "0\ncharacter special file\n", "{stderr}");
}

/// The console's and the terminals' places cannot be led elsewhere (CVE-2025-52565).
#[tokio::test(flavor = "multi_thread")]
async fn terminals_of_the_image_are_not_looked_at() {
    let Some(world) = fixture() else { return };
    let layer = world.layer();
    let dev = layer
        .writer()
        .root()
        .and_then(|root| root.make_dir(b"dev", 0o755));
    let dev = dev.expect("dev");
    for name in ["console", "pts", "shm", "mqueue", "ptmx", "tty"] {
        dev.symlink(name.as_bytes(), b"/proc/sys").expect("link");
    }
    drop(dev);
    let mut spec = world.shell(
        "stat -f -c %T /dev/pts /dev/shm; ls -d /dev/console 2>&1 | wc -l; \
                                grep -c ' /proc/sys ' /proc/mounts",
    );
    spec.root = Root::Active(layer);
    let (_, stdout, stderr) = world.run(spec).await;
    assert_eq!(stdout, "devpts\ntmpfs\n1\n1\n", "{stderr}");
}

/// The generated files go where links of the image lead, but never out of it (CVE-2024-9341).
#[tokio::test(flavor = "multi_thread")]
async fn generated_files_stay_in_the_image() {
    let Some(world) = fixture() else { return };
    let host = world.state.path().join("host");
    std::fs::create_dir(&host).expect("made");
    for name in ["hosts", "resolv.conf"] {
        std::fs::write(host.join(name), SECRET).expect("written");
    }
    for target in [
        host.to_str().expect("text"),
        "../../../../etc",
        "/proc/self/root",
    ] {
        let layer = world.store.prepare(&world.base).expect("a layer");
        let root = layer.writer().root().expect("root");
        let etc = root.open_dir(b"etc").expect("etc");
        for name in ["hosts", "resolv.conf"] {
            etc.symlink(name.as_bytes(), format!("{target}/{name}").as_bytes())
                .expect("link");
        }
        drop((etc, root));
        let mut spec = world.shell("cat /etc/hosts /etc/resolv.conf 2>/dev/null");
        spec.root = Root::Active(layer);
        let (finished, stdout, _) = world.run(spec).await;
        assert!(!stdout.contains(SECRET), "{target}: {stdout}");
        println!("{target}: {}", finished.is_ok());
    }
    for name in ["hosts", "resolv.conf"] {
        let text = std::fs::read_to_string(host.join(name)).expect("there");
        assert_eq!(text, SECRET);
    }
}

/// A working directory that leads to the host by a descriptor (CVE-2024-21626).
#[tokio::test(flavor = "multi_thread")]
async fn the_working_directory_is_in_the_root() {
    let Some(world) = fixture() else { return };
    for fd in 3..20 {
        for process in ["self", "1", "thread-self"] {
            let mut spec = world.shell("ls; pwd -P");
            spec.cwd = format!("/proc/{process}/fd/{fd}");
            let (finished, stdout, _) = world.run(spec).await;
            assert!(finished.is_err(), "{process} {fd}: {stdout}");
        }
    }
    for target in [
        "/proc/self/fd/3",
        "/proc/self/fd/7/../../..",
        "/proc/1/root",
    ] {
        let mut spec = with_links(&world, &[("x", target)], world.shell("ls -a /; pwd -P"));
        spec.cwd = "/x".to_owned();
        let (finished, stdout, _) = world.run(spec).await;
        assert!(finished.is_err(), "{target}: {stdout}");
    }
}

/// What a mount's place replaces is never the host's, wherever its parents are moved to meanwhile:
/// stubs are removed by identity (CVE-2024-23652, GHSA-4v98-7qmw-rqr8).
#[tokio::test(flavor = "multi_thread")]
async fn removing_stubs_never_touches_the_host() {
    let Some(world) = fixture() else { return };
    let host = world.state.path().join("host");
    std::fs::create_dir_all(host.join("empty/deep")).expect("made");
    std::fs::write(host.join("file"), "").expect("written");
    let target = host.to_str().expect("text");
    for (name, dest, script) in [
        (
            "the parent",
            "/made/empty",
            format!("mv /made /m; ln -s {target} /made"),
        ),
        (
            "its parent",
            "/made/empty/deep",
            format!("mv /made /m; ln -s {target} /made"),
        ),
        (
            "a file",
            "/made/file",
            format!("mv /made /m; ln -s {target} /made"),
        ),
        (
            "by dots",
            "/made/empty",
            format!("mv /made /m; ln -s ../../../../../../..{target} /made"),
        ),
    ] {
        for recursive in [false, true] {
            let mut spec = world.shell(&script);
            spec.remove_mount_stubs_recursive = recursive;
            let secret = MountKind::Secret {
                data: Vec::new(),
                uid: 0,
                gid: 0,
                mode: 0o400,
            };
            let file = StepMount {
                dest: dest.to_owned(),
                kind: secret,
                readonly: true,
            };
            spec.mounts = vec![if name == "a file" { file } else { tmpfs(dest) }];
            let (finished, _, stderr) = world.run(spec).await;
            drop(finished.unwrap_or_else(|error| panic!("{name}: {error} {stderr}")));
            for path in ["empty/deep", "file"] {
                assert!(host.join(path).exists(), "{name}: {path} is gone");
            }
        }
    }
}

/// Mounts of the step itself stay its own: the host sees none of them, nor the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn mounts_of_a_step_do_not_reach_the_host() {
    let Some(world) = fixture() else { return };
    let cache: &Fixture = &world;
    let dir = cache.state.path().join("shared");
    std::fs::create_dir_all(dir.join("inner")).expect("made");
    let mut spec = world.shell("mount -t tmpfs x /c/inner && touch /c/inner/f");
    spec.security = lamina_executor::SecurityMode::Insecure;
    spec.mounts = vec![directory("/c", &dir, "")];
    let (finished, _, stderr) = world.run(spec).await;
    assert!(finished.is_ok(), "{stderr}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(dir.to_str().expect("text")), "{mounts}");
    assert!(!dir.join("inner/f").exists());
}
