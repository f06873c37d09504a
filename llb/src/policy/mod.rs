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
mod selector;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_proto::sourcepolicy::PolicyAction;
use lamina_proto::sourcepolicy::Rule;
use lamina_proto::sourcepolicy::Selector;
use lamina_registry::ImageReference;

pub(crate) use definition::rewrite;

/// How often the rules may replace one source before that counts as a loop.
const MAX_ROUNDS: usize = 20;

const IMAGE_SCHEME: &str = "docker-image://";

/// Why a source may not be used, or the rules make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A rule says so (row POL-07).
    #[error("source {identifier:?} denied by policy: source denied by policy")]
    Denied {
        /// The source.
        identifier: String,
    },
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
    if policies.is_empty() {
        return Ok(());
    }
    normalise(source);
    for _ in 0..=MAX_ROUNDS {
        if !round(policies, source)? {
            return Ok(());
        }
    }
    Err(PolicyError::TooManyRounds)
}

/// Row POL-01. What is no image reference stays as it is; its source will refuse it.
fn normalise(source: &mut pb::SourceOp) {
    let reference = source.identifier.strip_prefix(IMAGE_SCHEME);
    if let Some(Ok(reference)) = reference.map(str::parse::<ImageReference>) {
        source.identifier = format!("{IMAGE_SCHEME}{reference}");
    }
}

/// Goes through the policies until one changes the source; says whether one did.
fn round(policies: &[&Policy], source: &mut pb::SourceOp) -> Result<bool, PolicyError> {
    for policy in policies {
        if apply_one(policy, source)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn apply_one(policy: &Policy, source: &mut pb::SourceOp) -> Result<bool, PolicyError> {
    let mut denied = false;
    for rule in &policy.rules {
        let selector = rule.selector.as_ref().ok_or(PolicyError::NoSelector)?;
        if !selector::matches(selector, source)? {
            continue;
        }
        let unknown = |_| PolicyError::UnknownValue {
            what: "policy action",
            value: rule.action,
        };
        match PolicyAction::try_from(rule.action).map_err(unknown)? {
            PolicyAction::Allow => denied = false,
            PolicyAction::Deny => denied = true,
            PolicyAction::Convert => {
                if convert(rule, selector, source)? {
                    return Ok(true);
                }
            }
        }
    }
    if denied {
        let identifier = source.identifier.clone();
        return Err(PolicyError::Denied { identifier });
    }
    Ok(false)
}

/// Row POL-05; says whether that changed anything.
fn convert(
    rule: &Rule,
    selector: &Selector,
    source: &mut pb::SourceOp,
) -> Result<bool, PolicyError> {
    let update = rule.updates.as_ref().ok_or(PolicyError::NoDestination)?;
    let wanted = match update.identifier.as_str() {
        "" => &selector.identifier,
        identifier => identifier,
    };
    let identifier = selector::expand(selector, &source.identifier, wanted)?;
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
