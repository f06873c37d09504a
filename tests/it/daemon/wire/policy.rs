//! Source policies of builds and of single calls (rows CSOL-16, GW-07, GW-21, POL-01 to POL-08).

use lamina_client::ClientError;
use lamina_client::llb::State;
use lamina_proto::control::SolveRequest;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::MatchType;
use lamina_proto::sourcepolicy::Policy;
use lamina_proto::sourcepolicy::PolicyAction;
use lamina_proto::sourcepolicy::Rule;
use lamina_proto::sourcepolicy::Selector;
use lamina_proto::sourcepolicy::Update;

use super::Wire;
use super::of_definition;
use super::reference_of;
use super::with_daemon;

fn rule(action: PolicyAction, identifier: &str, update: Option<&str>) -> Rule {
    Rule {
        action: action.into(),
        selector: Some(Selector {
            identifier: identifier.to_owned(),
            match_type: MatchType::Wildcard.into(),
            constraints: Vec::new(),
        }),
        updates: update.map(|identifier| Update {
            identifier: identifier.to_owned(),
            ..Update::default()
        }),
    }
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy { version: 1, rules }
}

/// Takes the busybox folder for an image by its full name (row POL-01).
fn to_base() -> Policy {
    let identifier = "docker-image://docker.io/library/app:latest";
    policy(vec![rule(
        PolicyAction::Convert,
        identifier,
        Some("local://base"),
    )])
}

fn deny() -> Policy {
    policy(vec![rule(PolicyAction::Deny, "docker-image://*", None)])
}

fn without_selector() -> Policy {
    let mut policy = deny();
    policy.rules[0].selector = None;
    policy
}

/// What is wrong with an image that is denied.
const DENIED: &str = "source \"docker-image://docker.io/library/app:latest\" denied by policy";

fn message<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    answer.expect_err("refused").to_string()
}

/// Rows CSOL-16, POL-05, POL-07: for everything that a build does.
#[test]
fn the_policy_of_a_build_decides() {
    with_daemon(async |wire: &Wire| {
        let run = State::image("app").run(["/bin/sh", "-c", "test -e /etc/passwd"]);
        let definition = Some(run.root().definition());
        let request = |id: &str, policy: Policy| SolveRequest {
            r#ref: id.to_owned(),
            session: wire.session.clone(),
            definition: definition.clone(),
            source_policy: Some(policy),
            ..SolveRequest::default()
        };
        wire.solve(request("converted", to_base()))
            .await
            .expect("the folder");
        let denied = wire
            .solve(request("denied", deny()))
            .await
            .expect_err("denied");
        assert!(denied.message().contains(DENIED), "{}", denied.message());
        let nothing = wire.solve(request("nothing", without_selector())).await;
        let nothing = nothing.expect_err("about nothing");
        assert_eq!(nothing.message(), "invalid nil selector in policy");
    });
}

/// Row GW-21: for one Solve of a build that has no policy itself.
#[test]
fn the_policies_of_a_call_decide() {
    with_daemon(async |wire: &Wire| {
        let request = |policies: Vec<Policy>| gateway::SolveRequest {
            source_policies: policies,
            ..of_definition(&State::image("app"))
        };
        let converted = wire.gateway.solve(request(vec![to_base()])).await;
        let tree = reference_of(&converted.expect("solved"));
        let group = wire.gateway.read_file(&tree, "/etc/group", None).await;
        assert!(group.expect("of the folder").starts_with(b"root:"));
        // Any policy can deny, and the first that converts hides the image from the second (POL-06).
        let denied = message(wire.gateway.solve(request(vec![deny(), to_base()])).await);
        assert!(denied.contains(DENIED), "{denied}");
        let converted = wire.gateway.solve(request(vec![to_base(), deny()])).await;
        converted.expect("solved");
        let nothing = message(wire.gateway.solve(request(vec![without_selector()])).await);
        assert_eq!(nothing, "invalid nil selector in policy");
    });
}

/// Rows GW-07, GW-08, GW-13: look-ups are under it before anything is fetched.
#[test]
fn policies_decide_on_look_ups() {
    with_daemon(async |wire: &Wire| {
        let config = |policy: Policy| gateway::ResolveImageConfigRequest {
            r#ref: "docker.io/library/app:latest".to_owned(),
            source_policies: vec![policy],
            ..gateway::ResolveImageConfigRequest::default()
        };
        let gateway = &wire.gateway;
        let denied = message(gateway.resolve_image_config(config(deny())).await);
        assert!(denied.contains(DENIED), "{denied}");
        let other = message(gateway.resolve_image_config(config(to_base())).await);
        assert!(other.contains("local://base"), "{other}");

        let source = |policy: Policy| gateway::ResolveSourceMetaRequest {
            source: Some(pb::SourceOp {
                identifier: "docker-image://docker.io/library/app:latest".to_owned(),
                ..pb::SourceOp::default()
            }),
            source_policies: vec![policy],
            ..gateway::ResolveSourceMetaRequest::default()
        };
        let denied = message(gateway.resolve_source_meta(source(deny())).await);
        assert!(denied.contains(DENIED), "{denied}");
        let found = gateway.resolve_source_meta(source(to_base())).await;
        let found = found.expect("nothing to fetch").source.expect("row GW-13");
        assert_eq!(found.identifier, "local://base");
    });
}
