//! The strings and numbers of a step: checked here, so that later errors are those of the machine.

use crate::ExecError;
use crate::Ulimit;
use crate::sandbox;
use crate::wire::Limit;

/// Added when a step has no PATH (row EXC-02).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Refuses what no process could be given.
pub(super) fn check(
    args: &[String],
    env: &[String],
    cwd: &str,
    ulimits: &[Ulimit],
) -> Result<(), ExecError> {
    if args.is_empty() {
        return Err(ExecError::NoCommand);
    }
    let has_nul = |strings: &[String]| strings.iter().any(|string| string.contains('\0'));
    for (what, found) in [
        ("an argument", has_nul(args)),
        ("an environment variable", has_nul(env)),
        ("the working directory", cwd.contains('\0')),
    ] {
        if found {
            return Err(ExecError::NulByte(what));
        }
    }
    let unknown = |limit: &&Ulimit| sandbox::limits::resource(&limit.name).is_none();
    match ulimits.iter().find(unknown) {
        Some(limit) => Err(ExecError::UnknownUlimit(limit.name.clone())),
        None => Ok(()),
    }
}

/// Adds PATH and HOME where they are absent; an empty HOME counts as absent, as with runc.
pub(super) fn complete(given: &[String], home: impl FnOnce() -> String) -> Vec<String> {
    let has = |prefix: &str| given.iter().any(|variable| variable.starts_with(prefix));
    let is_empty_home = |variable: &&String| *variable == "HOME=";
    let mut env: Vec<String> = given
        .iter()
        .filter(|v| !is_empty_home(v))
        .cloned()
        .collect();
    if !has("PATH=") {
        env.insert(0, DEFAULT_PATH.to_owned());
    }
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", home()));
    }
    env
}

/// Translates the limits (row EXC-08).
pub(super) fn limits(ulimits: &[Ulimit]) -> Vec<Limit> {
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    ulimits
        .iter()
        .map(|limit| Limit {
            name: limit.name.clone(),
            soft: finite(limit.soft),
            hard: finite(limit.hard),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_home_are_added_only_if_absent() {
        let complete = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            complete(&given, || "/root".to_owned())
        };
        for (name, given, expected) in [
            ("nothing", &[][..], &[DEFAULT_PATH, "HOME=/root"][..]),
            (
                "empty home",
                &["HOME=", "PATH=/p"],
                &["PATH=/p", "HOME=/root"],
            ),
            ("both", &["HOME=/x", "PATH="], &["HOME=/x", "PATH="]),
            (
                "order kept",
                &["B=1", "PATH=/p", "A=2"],
                &["B=1", "PATH=/p", "A=2", "HOME=/root"],
            ),
        ] {
            assert_eq!(complete(given), expected, "{name}");
        }
    }
}
