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
