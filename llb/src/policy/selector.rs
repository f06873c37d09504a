//! Which sources a rule is about (rows POL-02, POL-03).

use lamina_proto::pb;
use lamina_proto::sourcepolicy::AttrConstraint;
use lamina_proto::sourcepolicy::AttrMatch;
use lamina_proto::sourcepolicy::MatchType;
use lamina_proto::sourcepolicy::Selector;
use regex::Regex;

use super::PolicyError;

/// Says whether `selector` matches: all its constraints, and the identifier.
pub(super) fn matches(selector: &Selector, source: &pb::SourceOp) -> Result<bool, PolicyError> {
    for constraint in &selector.constraints {
        if !holds(constraint, source)? {
            return Ok(false);
        }
    }
    if selector.identifier == source.identifier {
        return Ok(true);
    }
    let pattern = pattern(selector)?;
    Ok(pattern.is_some_and(|pattern| pattern.is_match(&source.identifier)))
}

/// Fills the groups of what matched into `wanted`: `${1}` and so on.
pub(super) fn expand(
    selector: &Selector,
    identifier: &str,
    wanted: &str,
) -> Result<String, PolicyError> {
    let Some(pattern) = pattern(selector)? else {
        return Ok(wanted.to_owned());
    };
    if match_type(selector)? == MatchType::Regex {
        return Ok(pattern.replace_all(identifier, wanted).into_owned());
    }
    let Some(groups) = pattern.captures(identifier) else {
        return Ok(identifier.to_owned());
    };
    let mut text = String::new();
    groups.expand(wanted, &mut text);
    Ok(text)
}

/// A missing attribute counts as an empty text.
fn holds(constraint: &AttrConstraint, source: &pb::SourceOp) -> Result<bool, PolicyError> {
    let value = source.attrs.get(&constraint.key);
    let value = value.map(String::as_str).unwrap_or_default();
    let unknown = |_| PolicyError::UnknownValue {
        what: "attr condition",
        value: constraint.condition,
    };
    Ok(
        match AttrMatch::try_from(constraint.condition).map_err(unknown)? {
            AttrMatch::Equal => value == constraint.value,
            AttrMatch::Notequal => value != constraint.value,
            AttrMatch::Matches => compile(&constraint.value, &constraint.value)?.is_match(value),
        },
    )
}

fn match_type(selector: &Selector) -> Result<MatchType, PolicyError> {
    let unknown = |_| PolicyError::UnknownValue {
        what: "match type",
        value: selector.match_type,
    };
    MatchType::try_from(selector.match_type).map_err(unknown)
}

/// The selector as a regular expression; `None` if it matches literally only.
fn pattern(selector: &Selector) -> Result<Option<Regex>, PolicyError> {
    let text = &selector.identifier;
    match match_type(selector)? {
        MatchType::Exact => Ok(None),
        MatchType::Regex => compile(text, text).map(Some),
        MatchType::Wildcard => compile(text, &wildcard(text)?).map(Some),
    }
}

/// `*` matches anything, and what it matched is a group; everything else is literal.
fn wildcard(text: &str) -> Result<String, PolicyError> {
    if text.contains("**") {
        return Err(PolicyError::Pattern {
            pattern: text.to_owned(),
            reason: "invalid wildcard: \"**\"".to_owned(),
        });
    }
    let literals: Vec<String> = text.split('*').map(regex::escape).collect();
    Ok(format!("^{}$", literals.join("(.*)")))
}

fn compile(text: &str, expression: &str) -> Result<Regex, PolicyError> {
    Regex::new(expression).map_err(|error| PolicyError::Pattern {
        pattern: text.to_owned(),
        reason: error.to_string(),
    })
}
