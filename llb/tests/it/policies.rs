//! Source policies in a build (rows CSOL-16, POL-04 to POL-08).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_proto::sourcepolicy::Policy;
use lamina_proto::sourcepolicy::PolicyAction;
use lamina_proto::sourcepolicy::Rule;
use lamina_proto::sourcepolicy::Selector;
use lamina_proto::sourcepolicy::Update;
use lamina_session::LocalSession;
use lamina_snapshotter::Follow;
use lamina_types::Digest;
use lamina_types::RootedPath;

use crate::graph;
use crate::graph::Ops;
use crate::harness::Outcome;
use crate::world;

fn rule(action: PolicyAction, identifier: &str, update: &str) -> Policy {
    let rule = Rule {
        action: action.into(),
        selector: Some(Selector {
            identifier: identifier.to_owned(),
            ..Selector::default()
        }),
        updates: Some(Update {
            identifier: update.to_owned(),
            ..Update::default()
        }),
    };
    Policy {
        version: 1,
        rules: vec![rule],
    }
}

pub(crate) fn decide_before_anything_runs() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let folder = world.dir.path().join("given");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("file"), "x").expect("written");
        let session = || Arc::new(LocalSession::builder().local_dir("given", &folder).build());
        let mut ops = Ops::default();
        ops.add(graph::source("local://wanted"), &[]);
        let definition = ops.definition();

        let (build, _) = world.build(session());
        let rules = vec![rule(PolicyAction::Convert, "local://wan*", "local://given")];
        build.set_policies(rules).expect("sensible");
        let reference = world::solve(&build, definition.clone())
            .await
            .expect("converted");
        let reference = reference.expect("not scratch");
        let tree = build
            .evaluate(&reference)
            .await
            .expect("there")
            .stack()
            .tree();
        assert!(tree.lookup(&RootedPath::new("/file"), Follow::Last).is_ok());
        let digest = |definition: &lamina_proto::pb::Definition| Digest::of(&definition.def[0]);
        assert_ne!(digest(reference.definition()), digest(&definition));

        let (build, _) = world.build(session());
        let mut rules = vec![rule(PolicyAction::Deny, "local://*", "")];
        build.set_policies(rules.clone()).expect("sensible");
        let error = build.load(definition).expect_err("denied");
        assert_eq!(
            error.message,
            "failed to load LLB: error evaluating the source policy: source \"local://wanted\" \
             denied by policy: source denied by policy"
        );

        let (build, _) = world.build(session());
        rules[0].rules[0].selector = None;
        let error = build.set_policies(rules).expect_err("about nothing");
        assert_eq!(error.message, "invalid nil selector in policy");
    })
}
