//! Source policy: rules that allow, deny or replace sources (rows CSOL-16, POL-01 to POL-08).
//!
//! A policy is a list of rules. Each names sources by a selector; what it says of those is an
//! action:
//!
//! | action | effect |
//! |---|---|
//! | allow, deny | the last rule that matches decides; no match is allowed |
//! | convert | replaces identifier or attributes; if that changes something, all starts over |
//!
//! Identifiers are normalised first, so rules can rely on one spelling. Several policies apply in
//! order, and any of them can deny. Nothing is fetched before all of this is settled: definitions
//! are rewritten when they are loaded ([`rewrite`]), look-ups before they are made ([`apply`]).

mod definition;
mod patterns;
mod selector;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_proto::sourcepolicy::PolicyAction;
use lamina_proto::sourcepolicy::Rule;
use lamina_proto::sourcepolicy::Selector;
use lamina_registry::ImageReference;
use lamina_types::without_credentials;

use patterns::Patterns;

pub(crate) use definition::rewrite;

/// How often the rules may replace one source before that counts as a loop.
const MAX_ROUNDS: usize = 20;

/// Longest identifier that a rule may make; groups could else double it in every round.
const MAX_IDENTIFIER_BYTES: usize = 64 << 10;

const IMAGE_SCHEME: &str = "docker-image://";

/// Why a source may not be used, or the rules make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A rule says so (row POL-07).
    #[error("source {identifier:?} denied by policy: source denied by policy")]
    Denied {
        /// The source, without credentials.
        identifier: String,
    },
    /// A rule makes a source of a length that no source has.
    #[error("error mutating source policy: identifier of more than {MAX_IDENTIFIER_BYTES} bytes")]
    TooLong,
    /// The rules replace sources in a circle.
    #[error("too many mutations on a single source: too many operations")]
    TooManyRounds,
    /// A rule without a selector matches nothing that could be named.
    #[error("invalid nil selector in policy")]
    NoSelector,
    /// A rule to convert does not say to what.
    #[error("error mutating source policy: missing destination for convert rule")]
    NoDestination,
    /// A selector's regular expression or wildcard.
    #[error("error matching source policy: invalid pattern {pattern:?}: {reason}")]
    Pattern {
        /// As written in the rule.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that stands for no action, match type or condition.
    #[error("error matching source policy: unknown {what} {value}")]
    UnknownValue {
        /// What it should have been.
        what: &'static str,
        /// As received.
        value: i32,
    },
}

/// Refuses rules that make no sense, before any source is looked at (row CSOL-16).
///
/// # Errors
/// [`PolicyError::NoSelector`].
pub(crate) fn check(policies: &[Policy]) -> Result<(), PolicyError> {
    let mut rules = policies.iter().flat_map(|policy| &policy.rules);
    match rules.any(|rule| rule.selector.is_none()) {
        true => Err(PolicyError::NoSelector),
        false => Ok(()),
    }
}

/// Puts `source` under all `policies`, replacing it where they say so.
///
/// # Errors
/// [`PolicyError::Denied`], or a rule that makes no sense.
pub(crate) fn apply(policies: &[&Policy], source: &mut pb::SourceOp) -> Result<(), PolicyError> {
    apply_with(policies, &Patterns::default(), source)
}

/// The same for one of many sources: what the rules' patterns compile to is kept in `patterns`.
fn apply_with(
    policies: &[&Policy],
    patterns: &Patterns,
    source: &mut pb::SourceOp,
) -> Result<(), PolicyError> {
    if policies.is_empty() {
        return Ok(());
    }
    source.identifier = normalised(std::mem::take(&mut source.identifier));
    for _ in 0..=MAX_ROUNDS {
        if !round(policies, patterns, source)? {
            return Ok(());
        }
    }
    Err(PolicyError::TooManyRounds)
}

/// Row POL-01. What is no image reference stays as it is; its source will refuse it.
fn normalised(identifier: String) -> String {
    let reference = identifier.strip_prefix(IMAGE_SCHEME);
    match reference.map(str::parse::<ImageReference>) {
        Some(Ok(reference)) => format!("{IMAGE_SCHEME}{reference}"),
        _ => identifier,
    }
}

/// Goes through the policies until one changes the source; says whether one did.
fn round(
    policies: &[&Policy],
    patterns: &Patterns,
    source: &mut pb::SourceOp,
) -> Result<bool, PolicyError> {
    for policy in policies {
        if apply_one(policy, patterns, source)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn apply_one(
    policy: &Policy,
    patterns: &Patterns,
    source: &mut pb::SourceOp,
) -> Result<bool, PolicyError> {
    let mut denied = false;
    for rule in &policy.rules {
        let selector = rule.selector.as_ref().ok_or(PolicyError::NoSelector)?;
        if !selector::matches(selector, patterns, source)? {
            continue;
        }
        match action(rule)? {
            PolicyAction::Allow => denied = false,
            PolicyAction::Deny => denied = true,
            PolicyAction::Convert => {
                if convert(rule, selector, patterns, source)? {
                    return Ok(true);
                }
            }
        }
    }
    if denied {
        let identifier = without_credentials(&source.identifier).into_owned();
        return Err(PolicyError::Denied { identifier });
    }
    Ok(false)
}

fn action(rule: &Rule) -> Result<PolicyAction, PolicyError> {
    PolicyAction::try_from(rule.action).map_err(|_| PolicyError::UnknownValue {
        what: "policy action",
        value: rule.action,
    })
}

/// Row POL-05; says whether that changed anything. The new identifier is normalised as the first
/// one was: a rule cannot lead to a spelling that other rules do not know.
fn convert(
    rule: &Rule,
    selector: &Selector,
    patterns: &Patterns,
    source: &mut pb::SourceOp,
) -> Result<bool, PolicyError> {
    let update = rule.updates.as_ref().ok_or(PolicyError::NoDestination)?;
    let wanted = match update.identifier.as_str() {
        "" => &selector.identifier,
        identifier => identifier,
    };
    let identifier = selector::expand(selector, patterns, &source.identifier, wanted)?;
    let identifier = normalised(identifier);
    let mut changed = false;
    if !identifier.is_empty() && identifier != source.identifier {
        source.identifier = identifier;
        changed = true;
    }
    for (key, value) in &update.attrs {
        if source.attrs.get(key) != Some(value) {
            source.attrs.insert(key.clone(), value.clone());
            changed = true;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests;
