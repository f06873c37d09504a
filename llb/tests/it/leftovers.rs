//! What failed ops leave (rows ERR-03 to ERR-05).

use std::collections::BTreeMap;

use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_llb::Reference;
use lamina_llb::SolveFailure;
use lamina_llb::SolveSubject;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_proto::pb::op::Op;
use lamina_snapshotter::Follow;
use lamina_types::RootedPath;

use crate::graph;
use crate::graph::Ops;
use crate::graph::file_on;
use crate::graph::shell;
use crate::harness::Outcome;
use crate::world;

/// Runs what must fail.
async fn failure(build: &Build, definition: pb::Definition) -> (BuildError, SolveFailure) {
    let error = world::solve(build, definition).await.expect_err("fails");
    let solve = error.solve.clone().expect("something is left");
    (error, (*solve).clone())
}

/// Says which of `paths` a reference has; `None` if there is no reference.
async fn has(build: &Build, reference: &Option<Reference>, paths: &[&str]) -> Option<Vec<bool>> {
    let tree = build.evaluate(reference.as_ref()?).await.expect("is there");
    let tree = tree.stack().tree();
    let has = |path: &&str| tree.lookup(&RootedPath::new(path), Follow::Last).is_ok();
    Some(paths.iter().map(has).collect())
}

pub(crate) fn of_a_process() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let mut ops = Ops::with_base();
        let mut op = shell("echo x > /made; echo y > /m/made; exit 7");
        op.mounts.push(pb::Mount {
            dest: "/m".to_owned(),
            input: -1,
            output: 1,
            ..pb::Mount::default()
        });
        op.mounts.push(pb::Mount {
            dest: "/t".to_owned(),
            input: -1,
            output: -1,
            mount_type: pb::MountType::Tmpfs.into(),
            ..pb::Mount::default()
        });
        ops.add(Op::Exec(op), &[0]);
        let bytes = ops.0[1].clone();
        let (error, left) = failure(&build, ops.definition()).await;
        assert_eq!((error.exit_code, left.subject), (Some(7), SolveSubject::Op));
        assert_eq!(left.op, bytes, "the op as received");
        assert_eq!((left.inputs.len(), left.mounts.len()), (3, 3));
        let paths = ["/etc/passwd", "/made"];
        assert_eq!(
            has(&build, &left.inputs[0], &paths).await,
            Some(vec![true, false])
        );
        assert_eq!(
            has(&build, &left.mounts[0], &paths).await,
            Some(vec![true, true])
        );
        assert_eq!(
            has(&build, &left.mounts[1], &paths).await,
            Some(vec![false, true])
        );
        assert!(left.mounts[2].is_none() && left.inputs[1].is_none());
        let missing = graph::on_base(Op::Exec(graph::exec(&["/no/such"])));
        let (_, left) = failure(&build, missing).await;
        assert_eq!(
            has(&build, &left.mounts[0], &paths).await,
            Some(vec![true, false])
        );
    })
}

pub(crate) fn of_file_actions() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let mkfile = |path| graph::mkfile(path, b"", 0o644);
        let actions = vec![mkfile("/first"), mkfile("/no/parent"), mkfile("/third")];
        let definition = graph::on_base(file_on(0, actions));
        let (_, left) = failure(&build, definition).await;
        assert_eq!(left.subject, SolveSubject::FileAction(1));
        assert_eq!((left.inputs.len(), left.mounts.len()), (1, 3));
        let paths = ["/etc/passwd", "/first", "/third"];
        assert_eq!(
            has(&build, &left.inputs[0], &paths).await,
            Some(vec![true, false, false])
        );
        assert_eq!(
            has(&build, &left.mounts[1], &paths).await,
            Some(vec![true, true, false])
        );
        assert!(left.mounts[2].is_none());
    })
}

/// A copy that includes one path only, which it requires.
fn requiring(path: &str) -> pb::Definition {
    requiring_of("/", path.trim_start_matches('/'), path)
}

/// A copy of what `include` names in `source`, which requires `path`.
fn requiring_of(source: &str, include: &str, path: &str) -> pb::Definition {
    let mut ops = Ops::with_base();
    let tree = vec![graph::mkdir("/d"), graph::mkfile("/d/file", b"x", 0o644)];
    let tree = ops.add(graph::file(tree), &[]);
    let mut op = graph::copy(source, "/copied");
    if let Op::File(op) = &mut op
        && let Some(Action::Copy(copy)) = &mut op.actions[0].action
    {
        copy.include_patterns = vec![include.to_owned()];
        copy.required_paths = vec![path.to_owned()];
        copy.dir_copy_contents = true;
        copy.create_dest_path = true;
    }
    ops.add(op, &[0, tree]);
    ops.definition()
}

pub(crate) fn of_required_paths() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let copied = world::solve(&build, requiring("/d/file"))
            .await
            .expect("copies");
        assert_eq!(
            has(&build, &copied, &["/copied/d/file"]).await,
            Some(vec![true])
        );
        for (path, reason) in [
            ("/d/other", ""),
            ("/e", ""),
            ("/d/file/below", ": /d/file is not a directory"),
            ("/D/file", ": there is /d"),
            ("/d/FILE", ": there is /d/file"),
        ] {
            let (error, _) = failure(&build, requiring(path)).await;
            let text = format!(": {path:?}: not found{reason}");
            assert!(error.message.ends_with(&text), "{error}");
        }
        for (source, include, path) in [
            ("/", "d/other", "/d/file"),
            ("/", "e", "/d"),
            ("/d", "file", "/e/file"),
            ("/d", "file", "/d/other"),
            ("/", "d/file", "/d/fi"),
            ("/d*", "file", "/d/file"),
        ] {
            let (error, _) = failure(&build, requiring_of(source, include, path)).await;
            let text = format!(": {path:?}: not found");
            assert!(
                error.message.ends_with(&text),
                "{source} {include}: {error}"
            );
        }
        for (source, include, path) in [
            ("/", "d/f*", "/d"),
            ("/", "**/file", "/d/file"),
            ("/d", "file", "/d/file"),
        ] {
            let copied = world::solve(&build, requiring_of(source, include, path)).await;
            assert!(copied.is_ok(), "{source} {include} {path}");
        }
    })
}

pub(crate) fn of_a_checksum() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let mut ops = Ops::with_base();
        let other = ops.add(graph::file(vec![graph::mkdir("/d")]), &[]);
        ops.add(graph::copy("/nothere", "/x"), &[0, other]);
        let (error, left) = failure(&build, ops.definition()).await;
        assert_eq!(left.subject, SolveSubject::Content(1));
        assert_eq!(
            has(&build, &left.inputs[0], &["/d"]).await,
            Some(vec![true])
        );
        let text = error.to_string();
        let (before, after) = text.split_once(" ref ").expect("names the input");
        assert_eq!(
            before,
            "failed to compute cache key: failed to calculate checksum of"
        );
        assert!(
            after.contains("::") && after.ends_with(": \"/nothere\": not found"),
            "{text}"
        );
    })
}
