//! Cache mounts: what concurrent users get, what they begin with, and what is left (rows EXC-20 to
//! EXC-24).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_llb::Build;
use lamina_proto::pb;
use lamina_proto::pb::CacheSharingOpt::Locked;
use lamina_proto::pb::CacheSharingOpt::Private;
use lamina_proto::pb::CacheSharingOpt::Shared;
use lamina_proto::pb::op::Op;
use lamina_session::LocalSession;
use lamina_solver::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::built;
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
use crate::world::World;

fn cache(dest: &str, id: &str, sharing: pb::CacheSharingOpt) -> pb::Mount {
    pb::Mount {
        mount_type: pb::MountType::Cache.into(),
        cache_opt: Some(pb::CacheOpt {
            id: id.to_owned(),
            sharing: sharing.into(),
        }),
        ..mount(dest)
    }
}

/// A place where steps that run at the same time meet.
fn meeting() -> pb::Mount {
    cache("/meet", "meeting", Shared)
}

/// Waits in a step until another step has made `name` where they meet.
fn until(name: &str) -> String {
    wait_for(&format!("/meet/{name}"))
}

/// Waits in a step for a file, and fails if it does not come.
fn wait_for(file: &str) -> String {
    format!(
        "n=0; until test -e {file}; do sleep 0.02; n=$((n+1)); test $n -lt 1500 || exit 1; done"
    )
}

/// A build of one step in a task of its own.
struct Running {
    task: JoinHandle<()>,
    events: UnboundedReceiver<Event>,
}

impl Running {
    fn start(world: &World, script: &str, mounts: Vec<pb::Mount>) -> Self {
        let (build, events) = world.build(Arc::new(LocalSession::builder().build()));
        let definition = step(script, mounts);
        let task = tokio::spawn(async move {
            built(&build, definition).await;
        });
        Self { task, events }
    }

    /// Waits until watchers are told that it waits for the cache `id`; returns whether they are.
    async fn is_told_to_wait(&mut self, id: &str) -> bool {
        let words = format!("waiting for cache mount {id}, ");
        while let Some(event) = self.events.recv().await {
            if format!("{event:?}").contains(&words) {
                return true;
            }
        }
        false
    }

    async fn end(self) {
        self.task.await.expect("built");
    }
}

pub(crate) fn outlive_builds_and_stay_out_of_results() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let first = world.plain_build();
        let kept = || cache("/c", "kept", Shared);
        let result = built(&first, step("touch /c/f /r", vec![kept()])).await;
        assert_eq!(
            has(&first, &result, &["/r", "/c", "/c/f"]).await,
            [true, false, false]
        );
        drop(first);
        let second = world.plain_build();
        for (script, mounted) in [
            ("test -e /c/f", kept()),
            ("test ! -e /c/f", cache("/c", "other", Shared)),
            (
                "test -e /c && ! touch /c/g 2>/dev/null",
                pb::Mount {
                    readonly: true,
                    ..kept()
                },
            ),
            (
                "test $(ls /d) = x",
                pb::Mount {
                    selector: "sub".to_owned(),
                    ..cache("/d", "with-folder", Shared)
                },
            ),
        ] {
            if mounted.selector == "sub" {
                let folder = cache("/c", "with-folder", Shared);
                built(&second, step("mkdir /c/sub; touch /c/sub/x", vec![folder])).await;
            }
            built(&second, step(script, vec![mounted])).await;
        }
        let mut missing = cache("/c", "kept", Shared);
        missing.selector = "no/such".to_owned();
        let error = refused(&second, step("true", vec![missing])).await;
        assert!(
            error
                .message
                .ends_with(": no/such: no such file or directory"),
            "{error}"
        );
    })
}

pub(crate) fn are_shared_private_or_locked() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let one = |sharing| vec![cache("/c", "one", sharing), meeting()];
        // Shared: each needs what the other has written.
        let script = |mine: &str, other: &str| {
            format!("touch /c/{mine}; {}", wait_for(&format!("/c/{other}")))
        };
        let a = Running::start(&world, &script("a", "b"), one(Shared));
        let b = Running::start(&world, &script("b", "a"), one(Shared));
        a.end().await;
        b.end().await;
        // Private: the first is still there when the second finds another directory.
        let first = format!("test -e /c/a; touch /meet/first; {}", until("second"));
        let first = Running::start(&world, &first, one(Private));
        Running::start(&world, &until("first"), vec![meeting()])
            .end()
            .await;
        let second = "test ! -e /c/a; touch /meet/second";
        Running::start(&world, second, one(Private)).end().await;
        first.end().await;
        // Twice in one step: the same directory, and nobody waits for himself.
        for sharing in [Shared, Private, Locked] {
            let twice = vec![cache("/x", "twice", sharing), cache("/y", "twice", sharing)];
            let script = format!("touch /x/{sharing:?}; test -e /y/{sharing:?}");
            built(&world.plain_build(), step(&script, twice)).await;
        }
    })
}

/// Row EXC-23.
pub(crate) fn are_waited_for_in_sight() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let locked = || vec![cache("/c", "lock", Locked), meeting()];
        let script = format!("touch /meet/has /c/f; {}; rm /c/f", until("go"));
        let first = Running::start(&world, &script, locked());
        // The first has it now.
        Running::start(&world, &until("has"), vec![meeting()])
            .end()
            .await;
        let mut second = Running::start(&world, "test ! -e /c/f; touch /c/g", locked());
        assert!(second.is_told_to_wait("lock").await);
        let mut leaves = Running::start(&world, "test ! -e /c/f; touch /c/h", locked());
        assert!(leaves.is_told_to_wait("lock").await);
        leaves.task.abort();
        assert!(leaves.task.await.is_err_and(|error| error.is_cancelled()));
        Running::start(&world, "touch /meet/go", vec![meeting()])
            .end()
            .await;
        first.end().await;
        second.end().await;
        let left = step("test -e /c/g; test ! -e /c/h", locked());
        built(&world.plain_build(), left).await;
    })
}

/// A step with a cache on input 1, a tree of one folder of somebody.
fn seeded(script: &str, mounted: pb::Mount) -> Ops {
    let (mut ops, base) = tools();
    let mut folder = graph::mkdir("/cache");
    if let pb::file_action::Action::Mkdir(folder) = &mut folder {
        folder.mode = 0o750;
        folder.owner = Some(owner());
    }
    let tree = vec![folder, graph::mkfile("/cache/seed", b"", 0o644)];
    let tree = ops.add(graph::file(tree), &[]);
    let mut op = shell(script);
    op.mounts.push(mounted);
    ops.add(Op::Exec(op), &[base, tree]);
    ops
}

fn owner() -> pb::ChownOpt {
    let id = |id| {
        Some(pb::UserOpt {
            user: Some(pb::user_opt::User::ById(id)),
        })
    };
    pb::ChownOpt {
        user: id(7),
        group: id(8),
    }
}

/// Row EXC-20: also `uid`, `gid` and `mode` of a Dockerfile, which are those of a seed.
pub(crate) fn begin_as_their_seed() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let on_tree = |selector: &str, output| pb::Mount {
            input: 1,
            selector: selector.to_owned(),
            output,
            ..cache("/c", "seeded", Shared)
        };
        let owned = "test $(stat -c %u:%g:%a /c) = 7:8:750";
        built(&build, seeded(owned, on_tree("/cache", -1)).definition()).await;
        let script = "test -e /c/cache/seed; rm /c/cache/seed; touch /c/cache/new";
        built(&build, seeded(script, on_tree("", -1)).definition()).await;
        let script = "test ! -e /c/cache/seed; test -e /c/cache/new";
        let kept = seeded(script, on_tree("", 1));
        // The output is the seed, not the cache.
        let result = built(&build, with_output(kept, 1)).await;
        let paths = ["/cache/seed", "/cache/new"];
        assert_eq!(has(&build, &result, &paths).await, [true, false]);
        not_seeded(&build).await;
    })
}

async fn not_seeded(build: &Build) {
    let plain = cache("/c", "seeded", Shared);
    built(
        build,
        step(
            "test ! -e /c/cache; test $(stat -c %a /c) = 755",
            vec![plain],
        ),
    )
    .await;
}
