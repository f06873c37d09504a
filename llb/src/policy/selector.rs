//! Which sources a rule is about (rows POL-02, POL-03).

use lamina_proto::pb;
use lamina_proto::sourcepolicy::AttrConstraint;
use lamina_proto::sourcepolicy::AttrMatch;
use lamina_proto::sourcepolicy::MatchType;
use lamina_proto::sourcepolicy::Selector;

use super::MAX_IDENTIFIER_BYTES;
use super::PolicyError;
use super::patterns::Pattern;
use super::patterns::Patterns;

/// Most bytes that groups may be filled into while an identifier is made.
const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// Says whether `selector` matches: all its constraints, and the identifier.
pub(super) fn matches(
    selector: &Selector,
    patterns: &Patterns,
    source: &pb::SourceOp,
) -> Result<bool, PolicyError> {
    for constraint in &selector.constraints {
        if !holds(constraint, patterns, source)? {
            return Ok(false);
        }
    }
    if selector.identifier == source.identifier {
        return Ok(true);
    }
    let pattern = pattern(selector, patterns)?;
    Ok(pattern.is_some_and(|pattern| pattern.is_match(&source.identifier)))
}

/// Fills the groups of what matched into `wanted`: `${1}` and so on.
///
/// # Errors
/// [`PolicyError::TooLong`], and what is wrong with the selector.
pub(super) fn expand(
    selector: &Selector,
    patterns: &Patterns,
    identifier: &str,
    wanted: &str,
) -> Result<String, PolicyError> {
    let Some(pattern) = pattern(selector, patterns)? else {
        return bounded(wanted.to_owned());
    };
    // The text is put in once per match at most, and holds a group per byte at most.
    let most = (identifier.len() + 1).saturating_mul(wanted.len());
    if most > MAX_EXPANDED_BYTES {
        return Err(PolicyError::TooLong);
    }
    if match_type(selector)? == MatchType::Regex {
        return bounded(pattern.replace_all(identifier, wanted).into_owned());
    }
    let Some(groups) = pattern.captures(identifier) else {
        return Ok(identifier.to_owned());
    };
    let mut text = String::new();
    groups.expand(wanted, &mut text);
    bounded(text)
}

fn bounded(identifier: String) -> Result<String, PolicyError> {
    match identifier.len() {
        0..=MAX_IDENTIFIER_BYTES => Ok(identifier),
        _ => Err(PolicyError::TooLong),
    }
}

/// A missing attribute counts as an empty text.
fn holds(
    constraint: &AttrConstraint,
    patterns: &Patterns,
    source: &pb::SourceOp,
) -> Result<bool, PolicyError> {
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
            AttrMatch::Matches => patterns.regex(&constraint.value)?.is_match(value),
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
fn pattern(selector: &Selector, patterns: &Patterns) -> Result<Option<Pattern>, PolicyError> {
    let text = &selector.identifier;
    match match_type(selector)? {
        MatchType::Exact => Ok(None),
        MatchType::Regex => patterns.regex(text).map(Some),
        MatchType::Wildcard => patterns.wildcard(text).map(Some),
    }
}
