//! Flags of BuildKit's that ask for nothing that there is here.
//!
//! Scripts pass them, so they are accepted; one warning names those that were given. An unknown
//! flag is an error all the same.

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Args;
use clap::Command;
use clap::FromArgMatches;
use clap::parser::ValueSource;

/// How a flag is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `--flag` or `--flag=BOOL`.
    Switch,
    /// `--flag VALUE` or `--flag=VALUE`, any number of times.
    Value,
}

const FLAGS: &[(&str, Form)] = &[
    ("rootless", Form::Switch),
    ("debugaddr", Form::Value),
    ("proxy-network", Form::Switch),
    ("otel-socket-path", Form::Value),
    ("save-cache-debug", Form::Switch),
    // There is one worker, and it is our own.
    ("oci-worker", Form::Value),
    ("oci-worker-rootless", Form::Switch),
    ("oci-worker-no-process-sandbox", Form::Switch),
    ("oci-worker-apparmor-profile", Form::Value),
    ("oci-worker-selinux", Form::Switch),
    ("oci-worker-proxy-snapshotter-path", Form::Value),
    ("containerd-worker", Form::Value),
    ("containerd-worker-addr", Form::Value),
    ("containerd-worker-labels", Form::Value),
    ("containerd-worker-platform", Form::Value),
    ("containerd-worker-namespace", Form::Value),
    ("containerd-worker-runtime", Form::Value),
    ("containerd-worker-net", Form::Value),
    ("containerd-worker-snapshotter", Form::Value),
    ("containerd-worker-apparmor-profile", Form::Value),
    ("containerd-worker-selinux", Form::Switch),
    ("containerd-worker-rootless", Form::Switch),
    ("containerd-worker-gc", Form::Switch),
    ("containerd-worker-gc-keepstorage", Form::Value),
    ("containerd-cni-config-path", Form::Value),
    ("containerd-cni-binary-dir", Form::Value),
    ("containerd-cni-pool-size", Form::Value),
    ("containerd-max-parallelism", Form::Value),
];

/// Values that ask for what is so anyway, by flag; they need no warning.
const HARMLESS: &[(&str, &[&str])] = &[
    ("rootless", &["true", "false"]),
    ("oci-worker", &["true", "auto"]),
    ("oci-worker-rootless", &["true", "false"]),
    ("oci-worker-no-process-sandbox", &["false"]),
    ("oci-worker-selinux", &["false"]),
    ("proxy-network", &["false"]),
    ("save-cache-debug", &["false"]),
    ("containerd-worker", &["false", "auto"]),
];

/// The flags without effect that were given, as they would be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored(pub(crate) Vec<String>);

/// Tells of all flags at once what there is to say of each.
fn summary() -> String {
    let names: Vec<String> = FLAGS.iter().map(|(name, _)| format!("--{name}")).collect();
    format!(
        "Accepted for compatibility, without effect: {}",
        names.join(" ")
    )
}

fn argument(name: &'static str, form: Form) -> Arg {
    let arg = Arg::new(name)
        .long(name)
        .hide(true)
        .action(ArgAction::Append);
    match form {
        Form::Value => arg.value_name("VALUE"),
        Form::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(checked_switch),
    }
}

/// Refuses what is no switch, and gives all spellings of one the same form.
fn checked_switch(text: &str) -> Result<String, String> {
    super::switch::parse(text).map(|value| value.to_string())
}

fn is_harmless(flag: &str, value: &str) -> bool {
    let known = HARMLESS.iter().find(|(name, _)| *name == flag);
    known.is_some_and(|(_, values)| values.contains(&value))
}

impl FromArgMatches for Ignored {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (name, _) in FLAGS {
            if matches.value_source(name) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = matches.get_many::<String>(name).unwrap_or_default();
            let telling = values.filter(|value| !is_harmless(name, value));
            given.extend(telling.map(|value| format!("--{name}={value}")));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Ignored {
    fn augment_args(command: Command) -> Command {
        command
            .args(FLAGS.iter().map(|&(name, form)| argument(name, form)))
            .after_long_help(summary())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
