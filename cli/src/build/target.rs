//! Who builds.

use std::path::PathBuf;

use crate::args::ConnectionArgs;
use crate::args::EngineArgs;
use crate::connect;
use crate::error::CliError;

/// The variable that names the state folder of builds inside the command.
const ROOT: &str = "LAMINA_ROOT";

/// Returns the state folder that the environment names.
pub(crate) fn root_of_environment() -> Option<PathBuf> {
    let root = std::env::var_os(ROOT).filter(|root| !root.is_empty());
    root.map(PathBuf::from)
}

/// Who builds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The daemon at an address.
    Daemon(String),
    /// An engine inside the command, with its state folder if one was named.
    Embedded(Option<PathBuf>),
}

/// What decides, besides the engine's options.
struct Given<'a> {
    flag: Option<&'a str>,
    host: Option<String>,
    root: Option<PathBuf>,
}

impl Target {
    /// Decides by the table in the parent module.
    pub(super) fn choose(
        connection: &ConnectionArgs,
        engine: &EngineArgs,
    ) -> Result<Self, CliError> {
        let given = Given {
            flag: connection
                .addr
                .as_deref()
                .filter(|address| !address.is_empty()),
            host: connect::given(connection),
            root: root_of_environment(),
        };
        decide(given, engine, connect::running)
    }
}

fn decide(
    given: Given<'_>,
    engine: &EngineArgs,
    running: impl FnOnce() -> Option<String>,
) -> Result<Target, CliError> {
    let embedded = engine_option(engine);
    match (given.flag, embedded) {
        (Some(_), Some(option)) => Err(CliError::TwoEngines(option)),
        (Some(address), None) => Ok(Target::Daemon(address.to_owned())),
        (None, Some(_)) => Ok(Target::Embedded(engine.root.clone().or(given.root))),
        (None, None) => Ok(match (given.host, given.root) {
            (Some(address), _) => Target::Daemon(address),
            (None, Some(root)) => Target::Embedded(Some(root)),
            (None, None) => running().map_or(Target::Embedded(None), Target::Daemon),
        }),
    }
}

/// Returns an option that only an engine inside the command can have.
fn engine_option(engine: &EngineArgs) -> Option<&'static str> {
    let options = [
        (engine.embedded, "--embedded"),
        (engine.root.is_some(), "--root"),
        (engine.snapshotter.is_some(), "--snapshotter"),
        (engine.runtime.is_some(), "--runtime"),
        (!engine.insecure_registry.is_empty(), "--insecure-registry"),
    ];
    options
        .into_iter()
        .find_map(|(given, option)| given.then_some(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_decides() {
        let daemon = |address: &str| Target::Daemon(address.to_owned());
        let embedded = |root: Option<&str>| Target::Embedded(root.map(PathBuf::from));
        let host = |host: &str| Some(host.to_owned());
        for (name, flag, host, root, option, expected) in [
            (
                "nothing, and one runs",
                None,
                None,
                None,
                false,
                daemon("running"),
            ),
            (
                "a flag",
                Some("flag"),
                host("host"),
                Some("/root"),
                false,
                daemon("flag"),
            ),
            (
                "a host",
                None,
                host("host"),
                Some("/root"),
                false,
                daemon("host"),
            ),
            (
                "a root",
                None,
                None,
                Some("/root"),
                false,
                embedded(Some("/root")),
            ),
            ("an option", None, host("host"), None, true, embedded(None)),
            (
                "an option and a root",
                None,
                None,
                Some("/root"),
                true,
                embedded(Some("/root")),
            ),
        ] {
            let root = root.map(PathBuf::from);
            let engine = EngineArgs {
                embedded: option,
                ..EngineArgs::default()
            };
            let given = Given { flag, host, root };
            let target = decide(given, &engine, || Some("running".to_owned())).expect(name);
            assert_eq!(target, expected, "{name}");
        }
    }

    #[test]
    fn without_a_daemon_the_command_builds() {
        let given = Given {
            flag: None,
            host: None,
            root: None,
        };
        let target = decide(given, &EngineArgs::default(), || None).expect("valid");
        assert_eq!(target, Target::Embedded(None));
    }

    #[test]
    fn two_engines_are_one_too_many() {
        let engine = EngineArgs {
            runtime: Some("crun".to_owned()),
            ..EngineArgs::default()
        };
        let given = Given {
            flag: Some("unix:///x"),
            host: None,
            root: None,
        };
        let message = decide(given, &engine, || None)
            .expect_err("refused")
            .to_string();
        assert!(
            message.starts_with("--runtime is for builds inside the command"),
            "{message}"
        );
    }
}
