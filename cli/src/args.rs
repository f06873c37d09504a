//! The command line.

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use crate::progress::Mode;

/// Builds container images.
///
/// Lamina speaks BuildKit's language: Dockerfiles and LLB go in, images, archives and directories
/// come out. The engine runs inside the command; neither a daemon nor root is needed.
#[derive(Debug, Parser)]
#[command(name = "lamina", version, about, long_about, max_term_width = 100)]
#[command(after_help = "Examples:
  lamina build -o out .                         the result as a directory
  lamina build -t app:1 -o type=oci,dest=app.tar .    an OCI archive
  lamina build -t registry.example/app:1 --push .     to a registry
  lamina build --target test --progress plain .       one stage, with plain lines")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Build a marshalled LLB definition from standard input
    #[command(
        long_about = "Build a marshalled LLB definition from standard input, as `buildctl \
                            build` takes it.\n\nLocal sources of the definition are given with \
                            --local NAME=DIR."
    )]
    Solve(Box<SolveArgs>),
}

/// How the engine is set up.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Folder for layers and cache [default: /var/lib/lamina, or ~/.local/share/lamina]
    #[arg(long, env = "LAMINA_ROOT", value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What makes the trees that steps see
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) snapshotter: Snapshotter,
    /// What runs steps: builtin, or an OCI runtime such as crun or runc by name or path
    #[arg(long, default_value = "builtin", value_name = "RUNTIME")]
    pub(crate) runtime: String,
    /// Grant a privilege to the build: network.host, security.insecure
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
    /// Registry to reach by plain http, such as localhost:5000
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
}

/// The values of `--snapshotter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snapshotter {
    /// The fastest that works here
    Auto,
    /// The kernel's overlayfs, or an error
    Overlay,
}

/// What comes out, and what is shown on the way.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct ResultArgs {
    /// Where the result goes: DIR, `-` (tar on standard output), or
    /// type=local|tar|oci|docker|image|registry[,dest=PATH][,name=NAME][,push=true]..
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Vec<String>,
    /// Name of the image, as NAME[:TAG]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Write what the exporters report, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write the image id
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", env = "BUILDKIT_PROGRESS")]
    pub(crate) progress: Mode,
    /// Run every step anew
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Secret for steps: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Directory with the files of the build; `-` reads a tar or a Dockerfile from standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
    /// The Dockerfile [default: CONTEXT/Dockerfile]; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Set an ARG: NAME=VALUE, or NAME to take it from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Add a label to the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Further context: NAME=DIR, NAME=oci-layout://DIR[:TAG|@DIGEST], NAME=docker-image://REF
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<String>,
    /// Platform to build for, such as linux/amd64
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Default network of RUN steps: default, none, host
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) results: ResultArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SolveArgs {
    /// Directory behind a local source of the definition
    #[arg(long, value_name = "NAME=DIR")]
    pub(crate) local: Vec<String>,
    #[command(flatten)]
    pub(crate) results: ResultArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
