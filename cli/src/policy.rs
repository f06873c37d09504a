//! `--source-policy-file`: rules on sources, as JSON (rows CLI-11, POL-01 to POL-04, POL-09).

use std::path::Path;

use lamina_proto::sourcepolicy::AttrConstraint;
use lamina_proto::sourcepolicy::AttrMatch;
use lamina_proto::sourcepolicy::MatchType;
use lamina_proto::sourcepolicy::Policy;
use lamina_proto::sourcepolicy::PolicyAction;
use lamina_proto::sourcepolicy::Rule;
use lamina_proto::sourcepolicy::Selector;
use lamina_proto::sourcepolicy::Update;
use lamina_types::IoContext as _;
use lamina_types::PathError;
use serde_json::Map;
use serde_json::Value;

/// Says why a policy could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("{path}: {reason}")]
    Invalid { path: String, reason: String },
}

/// Reads a file. A key that is not known is an error: a rule must not mean less than it says.
pub(crate) fn read(path: &Path) -> Result<Policy, PolicyError> {
    let bytes = std::fs::read(path).at(path.display())?;
    let invalid = |reason| PolicyError::Invalid {
        path: path.display().to_string(),
        reason,
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    policy(value).map_err(invalid)
}

/// An object whose keys are taken one by one.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: Value, what: &str) -> Result<Self, String> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(format!("{what}: expected an object")),
        }
    }

    fn take(&mut self, names: &[&str]) -> Option<Value> {
        let mut found = names.iter().filter_map(|name| self.0.remove(*name));
        found.next().filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.take(&[name]) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{name}: expected a string")),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.take(&[name]) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(format!("{name}: expected a list")),
        }
    }

    /// Takes one of the names of an enum, or its number.
    fn choice(&mut self, names: &[&str], read: fn(&str) -> Option<i32>) -> Result<i32, String> {
        let shown = names[0];
        match self.take(names) {
            None => Ok(0),
            Some(Value::String(text)) => {
                read(&text.to_uppercase()).ok_or_else(|| format!("{shown}: unknown value {text:?}"))
            }
            Some(Value::Number(number)) => {
                let known = number.as_i64().filter(|number| (0..3).contains(number));
                let known = known.and_then(|number| i32::try_from(number).ok());
                known.ok_or_else(|| format!("{shown}: unknown value {number}"))
            }
            Some(_) => Err(format!("{shown}: expected a name")),
        }
    }

    fn finish(self, what: &str) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("{what}: unknown key {key:?}")),
        }
    }
}

fn policy(value: Value) -> Result<Policy, String> {
    let mut fields = Fields::of(value, "policy")?;
    let version = match fields.take(&["version"]) {
        None => 0,
        Some(value) => value.as_i64().ok_or("version: expected a number")?,
    };
    let rules = fields.list("rules")?.into_iter().map(rule);
    let rules = rules.collect::<Result<_, _>>()?;
    fields.finish("policy")?;
    Ok(Policy { version, rules })
}

fn rule(value: Value) -> Result<Rule, String> {
    let mut fields = Fields::of(value, "rule")?;
    let action = fields.choice(&["action"], |name| {
        PolicyAction::from_str_name(name).map(Into::into)
    })?;
    let rule = Rule {
        action,
        selector: fields.take(&["selector"]).map(selector).transpose()?,
        updates: fields.take(&["updates"]).map(update).transpose()?,
    };
    fields.finish("rule")?;
    Ok(rule)
}

fn selector(value: Value) -> Result<Selector, String> {
    let mut fields = Fields::of(value, "selector")?;
    let constraints = fields.list("constraints")?.into_iter().map(constraint);
    let selector = Selector {
        constraints: constraints.collect::<Result<_, _>>()?,
        identifier: fields.text("identifier")?,
        match_type: fields.choice(&["matchType", "match_type"], |name| {
            MatchType::from_str_name(name).map(Into::into)
        })?,
    };
    fields.finish("selector")?;
    Ok(selector)
}

fn constraint(value: Value) -> Result<AttrConstraint, String> {
    let mut fields = Fields::of(value, "constraint")?;
    let constraint = AttrConstraint {
        key: fields.text("key")?,
        value: fields.text("value")?,
        condition: fields.choice(&["condition"], |name| {
            AttrMatch::from_str_name(name).map(Into::into)
        })?,
    };
    fields.finish("constraint")?;
    Ok(constraint)
}

fn update(value: Value) -> Result<Update, String> {
    let mut fields = Fields::of(value, "updates")?;
    let mut update = Update {
        identifier: fields.text("identifier")?,
        ..Update::default()
    };
    if let Some(attrs) = fields.take(&["attrs"]) {
        for (key, value) in Fields::of(attrs, "attrs")?.0 {
            let text = value
                .as_str()
                .ok_or_else(|| format!("attrs: {key}: expected a string"))?;
            update.attrs.insert(key, text.to_owned());
        }
    }
    fields.finish("updates")?;
    Ok(update)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read() {
        let policy = policy(json!({"rules": [
            {"action": "CONVERT",
             "selector": {"identifier": "docker-image://a", "matchType": "EXACT"},
             "updates": {"identifier": "docker-image://b", "attrs": {"k": "v"}}},
            {"action": 1,
             "selector": {"identifier": "https://*", "constraints": [
                 {"key": "http.checksum", "value": "x", "condition": "NOTEQUAL"}]}},
        ]}))
        .expect("valid");
        let [first, second] = &policy.rules[..] else {
            panic!("{policy:?}");
        };
        assert_eq!(first.action(), PolicyAction::Convert);
        let selector = first.selector.as_ref().expect("a selector");
        assert_eq!(selector.match_type(), MatchType::Exact);
        assert_eq!(first.updates.as_ref().expect("updates").attrs["k"], "v");
        assert_eq!(second.action(), PolicyAction::Deny);
        let selector = second.selector.as_ref().expect("a selector");
        assert_eq!(selector.constraints[0].condition(), AttrMatch::Notequal);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (value, part) in [
            (json!([]), "policy: expected an object"),
            (json!({"rule": []}), "policy: unknown key \"rule\""),
            (
                json!({"rules": [{"action": "FORBID"}]}),
                "action: unknown value \"FORBID\"",
            ),
            (json!({"rules": [{"action": 7}]}), "action: unknown value 7"),
            (
                json!({"rules": [{"selector": {"identifer": "x"}}]}),
                "unknown key \"identifer\"",
            ),
            (
                json!({"rules": [{"updates": {"attrs": {"k": 1}}}]}),
                "attrs: k: expected a string",
            ),
        ] {
            let message = policy(value).expect_err(part);
            assert!(message.contains(part), "{message}");
        }
    }
}
