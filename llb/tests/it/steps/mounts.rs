//! Bind mounts, tmpfs, roots and working directories.

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_proto::pb::op::Op;

use super::built;
use super::changed;
use super::has;
use super::mount;
use super::refused;
use super::shell;
use super::step;
use super::tools;
use super::with_output;
use crate::graph;
use crate::graph::Ops;
use crate::harness::Outcome;
use crate::world;

fn bind(dest: &str, selector: &str) -> pb::Mount {
    pb::Mount {
        input: 1,
        selector: selector.to_owned(),
        ..mount(dest)
    }
}

fn readonly(mount: pb::Mount) -> pb::Mount {
    pb::Mount {
        readonly: true,
        ..mount
    }
}

fn with_result(mount: pb::Mount) -> pb::Mount {
    pb::Mount { output: 1, ..mount }
}

/// A script on the base (input 0) and a tree (input 1).
fn on_tree(script: &str, mounts: Vec<pb::Mount>) -> Ops {
    let (mut ops, base) = tools();
    let tree = vec![
        graph::mkdir("/d"),
        graph::mkfile("/d/file", b"data", 0o644),
        graph::symlink("/link", "/d/file"),
        graph::symlink("/out", "/../../../etc/passwd"),
    ];
    let tree = ops.add(graph::file(tree), &[]);
    let mut op = shell(script);
    op.mounts.extend(mounts);
    ops.add(Op::Exec(op), &[base, tree]);
    ops
}

/// Rows EXC-03, EXC-10, EXC-13 to EXC-19, EXC-25.
pub(crate) fn are_what_the_op_says() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        for (script, mounts) in [
            ("test $(cat /m/d/file) = data", vec![bind("/m", "")]),
            ("test $(cat /m/file) = data", vec![bind("/m", "d")]),
            ("test $(cat /m) = data", vec![bind("/m", "d/file")]),
            ("test $(cat /m) = data", vec![bind("/m", "/link")]),
            ("! touch /m/x 2>/dev/null", vec![readonly(bind("/m", "d"))]),
            ("touch /m/x; test -e /m/x", vec![bind("/m", "d")]),
            ("touch /m/x; test ! -e /m/d", vec![mount("/m")]),
            (
                "test -e /m/d/file; touch /m/n/x",
                vec![mount("/m/n"), bind("/m", "")],
            ),
            ("test -e /bin/m/file", vec![bind("bin/m", "d")]),
        ] {
            let definition = on_tree(script, mounts).definition();
            let result = built(&build, definition).await;
            let left = has(&build, &result, &["/m", "/bin/m", "/etc/passwd"]).await;
            assert_eq!(left, [false, false, true], "{script}");
        }
        outputs(&build).await;
        roots(&build).await;
    })
}

/// Row EXC-16: what is written is an output, what cannot be written to is what came in.
async fn outputs(build: &lamina_llb::Build) {
    for (script, mounted, paths, expected) in [
        (
            "touch /m/x",
            with_result(bind("/m", "d")),
            ["/d/x", "/d/file"],
            [true, true],
        ),
        (
            "touch /m/x",
            with_result(mount("/m")),
            ["/x", "/d"],
            [true, false],
        ),
        (
            "test -e /m/d",
            with_result(readonly(bind("/m", ""))),
            ["/x", "/d/file"],
            [false, true],
        ),
    ] {
        let ops = on_tree(script, vec![mounted]);
        let result = built(build, with_output(ops, 1)).await;
        assert_eq!(has(build, &result, &paths).await, expected, "{script}");
    }
}

async fn roots(build: &lamina_llb::Build) {
    let in_folder = |cwd: &str, user: &str| pb::Meta {
        cwd: cwd.to_owned(),
        user: user.to_owned(),
        ..pb::Meta::default()
    };
    for (script, meta, made) in [
        ("test $(pwd) = /new/one", in_folder("/new/one", ""), true),
        (
            "test $(stat -c %u:%g:%a /new/one) = 1234:1235:755",
            in_folder("/new/one", "app"),
            true,
        ),
        ("test $(id -u):$(id -g) = 7:8", in_folder("/", "7:8"), false),
    ] {
        let definition = changed(script, |op| {
            let args = op.meta.take().unwrap_or_default().args;
            op.meta = Some(pb::Meta { args, ..meta });
        });
        let result = built(build, definition).await;
        assert_eq!(has(build, &result, &["/new/one"]).await, [made], "{script}");
    }
    let sized = pb::Mount {
        mount_type: pb::MountType::Tmpfs.into(),
        tmpfs_opt: Some(pb::TmpfsOpt { size: 65536 }),
        ..mount("/t")
    };
    let script = "if head -c 200000 /dev/zero > /t/f 2>/dev/null; then exit 1; fi; \
                  rm /t/f; touch /t/g";
    let result = built(build, step(script, vec![sized])).await;
    assert_eq!(has(build, &result, &["/t"]).await, [false]);
    let sealed = changed("! touch /x 2>/dev/null", |op| op.mounts[0].readonly = true);
    assert_eq!(
        has(build, &built(build, sealed).await, &["/etc"]).await,
        [true]
    );
}

/// Rows EXC-04, EXC-14.
pub(crate) fn that_cannot_be_are_refused() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        for (mounted, end) in [
            (
                bind("/m", "no/such"),
                ": no/such: no such file or directory",
            ),
            (bind("/m", "/d/file/x"), ": /d/file/x: not a directory"),
            (
                readonly(bind("/m", "gone")),
                ": gone: no such file or directory",
            ),
        ] {
            let mut mounted = mounted;
            // Else the key of the content already fails.
            mounted.content_cache = pb::MountContentCache::Off.into();
            let error = refused(&build, on_tree("true", vec![mounted]).definition()).await;
            assert!(error.message.ends_with(end), "{error}");
            assert!(!error.message.contains("layers"), "{error}");
        }
        // A link out of the tree leads to nothing in it.
        let mut outside = bind("/m", "out");
        outside.content_cache = pb::MountContentCache::Off.into();
        let error = refused(&build, on_tree("true", vec![outside]).definition()).await;
        assert!(error.message.contains("out: no such file"), "{error}");
        for (user, words) in [
            ("nobody-here", "unable to find user nobody-here"),
            ("app:nogroup", "unable to find group nogroup"),
        ] {
            let definition = changed("true", |op| {
                op.meta.as_mut().expect("given").user = user.to_owned();
            });
            let error = refused(&build, definition).await;
            assert!(error.message.contains(words), "{error}");
        }
    })
}
