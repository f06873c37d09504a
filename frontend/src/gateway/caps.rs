//! What a frontend's image says that it can do (rows FGW-03, FCAP-01 to FCAP-07).

use std::collections::BTreeSet;

use lamina_llb::Bridge;

use super::Program;
use crate::error::FrontendError;
use crate::options::OptionsError;

/// The label with a comma list of capabilities (row FCAP-06).
const LABEL: &str = "moby.buildkit.frontend.caps";

/// Needed by builds with inputs, whether asked for or not (row FCAP-01).
const INPUTS: &str = "moby.buildkit.frontend.inputs";

/// Published before there was a label, and known to take inputs (row FCAP-07).
const OLD_WITH_INPUTS: [&str; 4] = [
    "sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d",
    "sha256:080bd74d8778f83e7b670de193362d8c593c8b14f5c8fb919d28ee8feda0d069",
    "sha256:60543a9d92b92af5088fb2938fb09b2072684af8384399e153e137fe081f8ab4",
    "sha256:de85b2f3a3e8a2f7fe48e8e84a65f6fdd5cd5183afa6412fff9caa6871649c44",
];

/// Refuses a program that lacks what the build asks for (row ERR-07).
pub(super) fn check(bridge: &dyn Bridge, program: &Program) -> Result<(), FrontendError> {
    let label = program.config.config.labels.get(LABEL);
    let mut offered = names(label.map_or("", String::as_str));
    let digest = program.digest.map(|digest| digest.to_string());
    if digest.is_some_and(|digest| OLD_WITH_INPUTS.contains(&digest.as_str())) {
        offered.insert(INPUTS);
    }
    let asked = bridge.options().get("frontend.caps");
    let mut wanted = names(asked.map_or("", String::as_str));
    if !bridge.inputs().is_empty() {
        wanted.insert(INPUTS);
    }
    match wanted.difference(&offered).next() {
        None => Ok(()),
        Some(cap) => Err(OptionsError::Capability {
            cap: (*cap).to_owned(),
        }
        .into()),
    }
}

/// Reads a comma list; what follows a plus is for others (row FCAP-05).
fn names(list: &str) -> BTreeSet<&str> {
    let words = list.split(',');
    let words = words.map(|word| word.split('+').next().unwrap_or(word));
    words.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_without_suffixes() {
        for (list, expected) in [
            ("", vec![]),
            (",", vec![]),
            ("a", vec!["a"]),
            ("b+forward,a,+x", vec!["a", "b"]),
        ] {
            let names: Vec<&str> = names(list).into_iter().collect();
            assert_eq!(names, expected, "{list:?}");
        }
    }
}
