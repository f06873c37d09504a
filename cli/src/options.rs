//! From arguments to what a build is asked for: frontend options, session, exports.

use std::collections::BTreeMap;
use std::fs;

use lamina_session::DockerConfig;
use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_types::IoContext as _;

use crate::args::BuildArgs;
use crate::args::BuildOptions;
use crate::caches::Caches;
use crate::context::Context;
use crate::error::CliError;
use crate::output::Destination;
use crate::output::Output;
use crate::secrets;
use crate::secrets::SecretSource;
use crate::ssh;

/// Returns the frontend's options for `lamina build` (section 8.2 of the inventory), without those
/// of contexts.
pub(crate) fn frontend_options(args: &BuildArgs) -> Result<BTreeMap<String, String>, CliError> {
    let mut options = BTreeMap::new();
    for arg in &args.build_arg {
        if let Some((name, value)) = build_arg(arg)? {
            options.insert(format!("build-arg:{name}"), value);
        }
    }
    for label in &args.label {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() {
            return Err(CliError::BadLabel(label.clone()));
        }
        options.insert(format!("label:{name}"), value.to_owned());
    }
    let single = [("target", &args.target), ("platform", &args.platform)];
    // "default" is what there is without the option.
    if let Some(network) = args
        .network
        .as_ref()
        .filter(|network| *network != "default")
    {
        options.insert("force-network-mode".to_owned(), network.clone());
    }
    for (key, value) in single {
        if let Some(value) = value {
            options.insert(key.to_owned(), value.clone());
        }
    }
    if args.common.options.no_cache {
        options.insert("no-cache".to_owned(), String::new());
    }
    Ok(options)
}

/// Reads `NAME=VALUE`; a bare `NAME` takes the variable of the environment, or nothing.
fn build_arg(text: &str) -> Result<Option<(String, String)>, CliError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if name.is_empty() {
        return Err(CliError::BadBuildArg(text.to_owned()));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

/// Returns a session that offers the user's files, secrets and agents and takes the results.
pub(crate) fn session(
    context: &Context,
    outputs: &[Output],
    caches: &Caches,
    options: &BuildOptions,
) -> Result<LocalSession, CliError> {
    let mut builder = LocalSession::builder();
    for (name, dir) in &context.locals {
        builder = builder.local_dir(name, dir);
    }
    for (name, dir) in &context.layouts {
        builder = builder.oci_layout(name, dir);
    }
    for text in &options.secret {
        builder = add_secret(builder, text)?;
    }
    for text in &options.ssh {
        let (name, socket) = ssh::parse(text)?;
        builder = builder.ssh_agent(name, socket);
    }
    builder = caches.offer(builder);
    if let Some(config) = DockerConfig::from_environment() {
        builder = builder.docker_config(config);
    }
    for (index, output) in outputs.iter().enumerate() {
        builder = match &output.dest {
            Destination::None => builder,
            Destination::Stdout => builder.standard_output_target(index),
            Destination::File(path) => builder.file_target(index, path),
            Destination::Directory(path) => builder.directory_target(index, path),
        };
    }
    Ok(builder.build())
}

/// Adds a secret; a file that is not there is an error now and not when a step wants it.
fn add_secret(builder: LocalSessionBuilder, text: &str) -> Result<LocalSessionBuilder, CliError> {
    let (id, source) = secrets::parse(text)?;
    match source {
        SecretSource::Environment(variable) => {
            if std::env::var_os(&variable).is_none() {
                return Err(CliError::UnsetVariable { id, variable });
            }
            Ok(builder.secret_env(id, variable))
        }
        SecretSource::File(path) => {
            fs::File::open(&path).at(path.display())?;
            Ok(builder.secret_file(id, path))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;
    use crate::args::Command;

    #[test]
    fn arguments_become_options() {
        let cli = Cli::try_parse_from([
            "lamina",
            "build",
            "--build-arg",
            "A=1=2",
            "--build-arg",
            "NOT_SET_ANYWHERE",
            "--label",
            "x",
            "--target",
            "t",
            "--no-cache",
            ".",
        ])
        .expect("valid");
        let Command::Build(args) = cli.command else {
            panic!("another command")
        };
        let expected = [
            ("build-arg:A", "1=2"),
            ("label:x", ""),
            ("no-cache", ""),
            ("target", "t"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let options: Vec<_> = frontend_options(&args)
            .expect("valid")
            .into_iter()
            .collect();
        assert_eq!(options, expected);
    }
}
