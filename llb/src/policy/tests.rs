use lamina_proto::sourcepolicy::AttrConstraint;
use lamina_proto::sourcepolicy::AttrMatch;
use lamina_proto::sourcepolicy::MatchType;
use lamina_proto::sourcepolicy::Update;
use lamina_types::Digest;
use prost::Message;

use super::*;

fn source(identifier: &str) -> pb::SourceOp {
    pb::SourceOp {
        identifier: identifier.to_owned(),
        ..pb::SourceOp::default()
    }
}

fn selector(identifier: &str, kind: MatchType) -> Selector {
    Selector {
        identifier: identifier.to_owned(),
        match_type: kind.into(),
        ..Selector::default()
    }
}

fn rule(action: PolicyAction, identifier: &str, kind: MatchType) -> Rule {
    Rule {
        action: action.into(),
        selector: Some(selector(identifier, kind)),
        updates: None,
    }
}

fn allow(identifier: &str) -> Rule {
    rule(PolicyAction::Allow, identifier, MatchType::Wildcard)
}

fn deny(identifier: &str) -> Rule {
    rule(PolicyAction::Deny, identifier, MatchType::Wildcard)
}

fn convert(identifier: &str, kind: MatchType, to: &str) -> Rule {
    Rule {
        updates: Some(Update {
            identifier: to.to_owned(),
            ..Update::default()
        }),
        ..rule(PolicyAction::Convert, identifier, kind)
    }
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy { version: 1, rules }
}

fn outcome(policies: &[Policy], source: &str) -> String {
    let policies: Vec<&Policy> = policies.iter().collect();
    let mut op = self::source(source);
    match apply(&policies, &mut op) {
        Ok(()) => op.identifier,
        Err(PolicyError::Denied { .. }) => "denied".to_owned(),
        Err(error) => error.to_string(),
    }
}

const GO: &str = "docker-image://docker.io/library/golang:1.19";

#[test]
fn rules_decide_in_order() {
    use MatchType::Exact;
    use MatchType::Regex;
    use MatchType::Wildcard;
    let star = "docker-image://docker.io/library/golang:*";
    let loops = |from: &str, to: &str| convert(from, Exact, to);
    for (name, policies, expected) in [
        ("none", vec![], "docker-image://golang:1.19"),
        ("no rule", vec![policy(vec![])], GO),
        ("deny", vec![policy(vec![deny("*")])], "denied"),
        (
            "last one counts",
            vec![policy(vec![deny("*"), allow(star)])],
            GO,
        ),
        (
            "last one counts",
            vec![policy(vec![allow("*"), deny(GO)])],
            "denied",
        ),
        (
            "each policy may deny",
            vec![policy(vec![deny("*"), allow("*")]), policy(vec![deny("*")])],
            "denied",
        ),
        (
            "regex group",
            vec![policy(vec![convert(
                "^docker-image://docker.io/library/(go)lang.*$",
                Regex,
                "local://$1",
            )])],
            "local://go",
        ),
        (
            "the new source is judged too",
            vec![policy(vec![
                convert(GO, Exact, "local://x"),
                deny("local://*"),
            ])],
            "denied",
        ),
        (
            "exact does not match patterns",
            vec![policy(vec![rule(PolicyAction::Deny, "*", Exact)])],
            GO,
        ),
        (
            "circle",
            vec![policy(vec![loops(GO, "a://"), loops("a://", GO)])],
            "too many mutations on a single source: too many operations",
        ),
        (
            "two stars",
            vec![policy(vec![deny("**")])],
            "error matching source policy: invalid pattern \"**\": invalid wildcard: \"**\"",
        ),
        (
            "nothing to convert to",
            vec![policy(vec![rule(PolicyAction::Convert, "*", Wildcard)])],
            "error mutating source policy: missing destination for convert rule",
        ),
        (
            "no selector",
            vec![policy(vec![Rule::default()])],
            "invalid nil selector in policy",
        ),
    ] {
        assert_eq!(
            outcome(&policies, "docker-image://golang:1.19"),
            expected,
            "{name}"
        );
    }
}

/// A frontend's rule must not lead around the rules of the user (rows POL-01, POL-05, POL-06).
#[test]
fn what_a_rule_gives_is_normalised_too() {
    let denied = "docker-image://docker.io/library/evil:latest";
    for to in [
        "docker-image://evil",
        "docker-image://library/evil",
        "docker-image://docker.io/evil",
        "docker-image://index.docker.io/library/evil:latest",
        denied,
    ] {
        let further = policy(vec![convert(GO, MatchType::Exact, to)]);
        let own = policy(vec![rule(PolicyAction::Deny, denied, MatchType::Exact)]);
        assert_eq!(outcome(&[own, further.clone()], GO), "denied", "{to}");
        assert_eq!(outcome(&[further], GO), denied, "{to}");
    }
    // Another spelling of the same is no change, so this is no circle.
    let same = convert(GO, MatchType::Exact, "docker-image://golang:1.19");
    assert_eq!(outcome(&[policy(vec![same])], GO), GO);
}

#[test]
fn denials_show_no_credentials() {
    let mut source = source("https://user:secret@h.test/a");
    let error = apply(&[&policy(vec![deny("*")])], &mut source).expect_err("denied");
    assert_eq!(
        error.to_string(),
        "source \"https://xxxxx:xxxxx@h.test/a\" denied by policy: source denied by policy"
    );
}

/// Each round could make an identifier many times as long.
#[test]
fn identifiers_do_not_grow_without_bounds() {
    let twice = policy(vec![convert("*", MatchType::Wildcard, "${1}${1}")]);
    let (long, longer) = ("x".repeat(9_000), "${1}".repeat(9_000));
    let product = policy(vec![convert("*", MatchType::Wildcard, &longer)]);
    for policy in [twice, product] {
        let mut source = source(&format!("local://{long}"));
        assert_eq!(apply(&[&policy], &mut source), Err(PolicyError::TooLong));
    }
}

#[test]
fn wildcards_fill_groups() {
    let rule = convert(
        "docker-image://docker.io/library/golang:*",
        MatchType::Wildcard,
        "local://${1}-alpine",
    );
    assert_eq!(outcome(&[policy(vec![rule])], GO), "local://1.19-alpine");
}

#[test]
fn constraints_must_all_hold() {
    let constraint = |key: &str, value: &str, condition: AttrMatch| AttrConstraint {
        key: key.to_owned(),
        value: value.to_owned(),
        condition: condition.into(),
    };
    let (equal, other, like) = (AttrMatch::Equal, AttrMatch::Notequal, AttrMatch::Matches);
    for (constraints, denied) in [
        (vec![constraint("a", "1", equal)], true),
        (vec![constraint("a", "2", equal)], false),
        (vec![constraint("b", "", equal)], true),
        (vec![constraint("b", "x", other)], true),
        (vec![constraint("a", "1", other)], false),
        (vec![constraint("a", "^[0-9]$", like)], true),
        (
            vec![constraint("a", "1", equal), constraint("a", "x", like)],
            false,
        ),
    ] {
        let mut rule = deny("*");
        rule.selector
            .as_mut()
            .expect("given")
            .constraints
            .clone_from(&constraints);
        let mut source = source("local://x");
        source.attrs.insert("a".to_owned(), "1".to_owned());
        let result = apply(&[&policy(vec![rule])], &mut source);
        assert_eq!(result.is_err(), denied, "{constraints:?}");
    }
}

#[test]
fn updates_of_attributes_are_merged() {
    let update = Update {
        identifier: String::new(),
        attrs: [("http.checksum".to_owned(), "sha256:0".to_owned())].into(),
    };
    let rule = Rule {
        updates: Some(update),
        ..rule(PolicyAction::Convert, "https://x/y", MatchType::Exact)
    };
    let mut source = source("https://x/y");
    apply(&[&policy(vec![rule])], &mut source).expect("applies");
    assert_eq!(source.identifier, "https://x/y");
    assert_eq!(source.attrs["http.checksum"], "sha256:0");
}

fn encoded(op: Option<pb::op::Op>, inputs: &[&[u8]]) -> Vec<u8> {
    let input = |bytes: &&[u8]| pb::Input {
        digest: Digest::of(bytes).to_string(),
        index: 0,
    };
    let op = pb::Op {
        inputs: inputs.iter().map(input).collect(),
        op,
        ..pb::Op::default()
    };
    op.encode_to_vec()
}

#[test]
fn digests_of_dependants_change_and_others_stay() {
    let changed = encoded(Some(pb::op::Op::Source(source("docker-image://a"))), &[]);
    let kept = encoded(Some(pb::op::Op::Source(source("local://b"))), &[]);
    let merge = encoded(
        Some(pb::op::Op::Merge(pb::MergeOp::default())),
        &[&changed, &kept],
    );
    let last = encoded(None, &[&merge]);
    let metadata = |name: &str| pb::OpMetadata {
        description: [("name".to_owned(), name.to_owned())].into(),
        ..pb::OpMetadata::default()
    };
    let definition = pb::Definition {
        // Dependants first: the order says nothing.
        def: vec![merge.clone(), kept.clone(), changed.clone(), last],
        metadata: [
            (Digest::of(&merge).to_string(), metadata("merge")),
            (Digest::of(&kept).to_string(), metadata("kept")),
        ]
        .into(),
        source: Some(pb::Source {
            locations: [(Digest::of(&changed).to_string(), pb::Locations::default())].into(),
            ..pb::Source::default()
        }),
    };
    let rules = policy(vec![convert(
        "*docker.io/library/a:latest",
        MatchType::Wildcard,
        "local://c",
    )]);
    let new = rewrite(definition, &[&rules]).expect("rewritten");
    let digest = |at: usize| Digest::of(&new.def[at]).to_string();
    assert_eq!(new.def[1], kept);
    let merge = pb::Op::decode(&new.def[0][..]).expect("an op");
    assert_eq!(merge.inputs[0].digest, digest(2));
    assert_eq!(merge.inputs[1].digest, digest(1));
    let last = pb::Op::decode(&new.def[3][..]).expect("an op");
    assert_eq!(last.inputs[0].digest, digest(0));
    assert_eq!(new.metadata[&digest(0)].description["name"], "merge");
    assert_eq!(new.metadata[&digest(1)].description["name"], "kept");
    assert!(new.source.expect("kept").locations.contains_key(&digest(2)));
}

/// An op with one input many times.
fn naming(input: &[u8], count: usize) -> Vec<u8> {
    let digest = Digest::of(input).to_string();
    let op = pb::Op {
        inputs: vec![pb::Input { digest, index: 0 }; count],
        ..pb::Op::default()
    };
    op.encode_to_vec()
}

/// One op names another many times, and that one has many inputs: looking at them anew for each
/// name would take minutes.
#[test]
fn shared_inputs_are_looked_at_once() {
    const COUNT: usize = 30_000;
    let changed = encoded(Some(pb::op::Op::Source(source("docker-image://a"))), &[]);
    let wide = naming(&changed, COUNT);
    let last = naming(&wide, COUNT);
    let definition = pb::Definition {
        def: vec![last, wide, changed],
        ..pb::Definition::default()
    };
    let new = rewrite(definition, &[&policy(vec![])]).expect("rewritten");
    let last = pb::Op::decode(&new.def[0][..]).expect("an op");
    let wide = Digest::of(&new.def[1]).to_string();
    assert!(last.inputs.iter().all(|input| input.digest == wide));
}

/// What the loader refuses for its size is not looked at: here a rule that could not be applied.
#[test]
fn what_is_too_large_is_left_to_the_loader() {
    let broken = policy(vec![deny("**")]);
    let source = encoded(Some(pb::op::Op::Source(source("docker-image://a"))), &[]);
    for (count, looked_at) in [(100_000, true), (100_001, false)] {
        let definition = pb::Definition {
            def: vec![source.clone(); count],
            ..pb::Definition::default()
        };
        let result = rewrite(definition, &[&broken]);
        assert_eq!(result.is_err(), looked_at, "{count}");
    }
}
