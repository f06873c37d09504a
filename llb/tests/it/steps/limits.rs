//! How steps end, what limits them, and what of them counts for the cache (rows EXC-05 to EXC-12,
//! EXC-39).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamina_llb::Build;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_solver::Event;
use tokio::sync::mpsc::UnboundedReceiver;

use super::built;
use super::changed;
use super::digest;
use super::refused;
use crate::harness::Outcome;
use crate::world;

pub(crate) fn ends_are_judged() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let valid = |script: &str, codes: &[i32]| {
            changed(script, |op| {
                op.meta.as_mut().expect("given").valid_exit_codes = codes.to_vec();
            })
        };
        built(&build, valid("exit 3", &[3, 4])).await;
        for (definition, words, code) in [
            (valid("exit 5", &[3, 4]), "exit code: 5", 5),
            (valid("exit 0", &[3]), "exit code: 0", 0),
        ] {
            let error = refused(&build, definition).await;
            let end = format!(" did not complete successfully: {words}");
            assert!(error.message.ends_with(&end), "{error}");
            assert!(
                error.message.starts_with("process \"/bin/sh -c "),
                "{error}"
            );
            assert_eq!(error.exit_code, Some(code));
        }
    })
}

/// Runs a definition; says whether its step came from the cache.
async fn is_cached(
    build: &Build,
    events: &mut UnboundedReceiver<Event>,
    step: pb::Definition,
) -> bool {
    let exec = digest(&step);
    built(build, step).await;
    let mut cached = false;
    while let Ok(event) = events.try_recv() {
        if let Event::Vertex(vertex) = event {
            cached |= vertex.digest == exec && vertex.cached;
        }
    }
    cached
}

pub(crate) fn keys_leave_out_what_does_not_count() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let with = |change: &dyn Fn(&mut pb::Meta)| {
            changed("echo keyed", |op| {
                let meta = op.meta.as_mut().expect("given");
                meta.extra_hosts = vec![pb::HostIp {
                    host: "h".to_owned(),
                    ip: "1.2.3.4".to_owned(),
                }];
                change(meta);
            })
        };
        let proxy = pb::ProxyEnv {
            http_proxy: "http://other".to_owned(),
            ..pb::ProxyEnv::default()
        };
        for (name, definition, cached) in [
            ("first", with(&|_| ()), false),
            (
                "proxy",
                with(&|meta| meta.proxy_env = Some(proxy.clone())),
                true,
            ),
            (
                "address",
                with(&|meta| meta.extra_hosts[0].ip = "4.3.2.1".to_owned()),
                true,
            ),
            (
                "variable",
                with(&|meta| meta.env = vec!["A=1".to_owned()]),
                false,
            ),
            ("user", with(&|meta| meta.user = "app".to_owned()), false),
        ] {
            let session = LocalSession::builder().build();
            let (build, mut events) = world.build(Arc::new(session));
            assert_eq!(
                is_cached(&build, &mut events, definition).await,
                cached,
                "{name}"
            );
        }
    })
}

/// Limits are in the metadata of the op: they work, and the op stays the same.
pub(crate) fn resources_are_metadata() -> Outcome {
    let group = Path::new("/sys/fs/cgroup/memory");
    if !group.join("memory.limit_in_bytes").exists() {
        return Outcome::Skipped("no memory controller of version 1".to_owned());
    }
    world::with(BTreeMap::new(), |world| async move {
        let limited = |script: &str, memory| {
            let mut definition = changed(script, |_| ());
            let metadata = pb::OpMetadata {
                linux_resources: Some(pb::LinuxResources {
                    memory,
                    ..pb::LinuxResources::default()
                }),
                ..pb::OpMetadata::default()
            };
            let digest = digest(&definition).to_string();
            definition.metadata.insert(digest, metadata);
            definition
        };
        let first = world.plain_build();
        let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes | grep '^33554432$'";
        built(&first, limited(script, 32 << 20)).await;
        let error = refused(&first, limited("tail /dev/zero", 32 << 20)).await;
        let end = " did not complete successfully: cannot allocate memory";
        assert!(error.message.ends_with(end), "{error}");
        assert_eq!(error.exit_code, Some(137));
        drop(first);
        let (build, mut events) = world.build(Arc::new(LocalSession::builder().build()));
        let again = limited(script, 64 << 20);
        assert!(
            is_cached(&build, &mut events, again).await,
            "no part of the key"
        );
    })
}
