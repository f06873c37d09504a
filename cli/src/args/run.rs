//! Arguments of `lamina run`.

use clap::Args;

use super::BuildArgs;
use super::BuildOptions;
use super::CommonArgs;
use super::ConnectionArgs;
use super::EngineArgs;
use super::ResultArgs;
use crate::progress::Mode;

/// What is run, and on which stage.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Directory with the files of the build
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: String,
    /// Program and arguments, instead of the image's entrypoint and command
    #[arg(value_name = "CMD", last = true)]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    /// The Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE", help_heading = "Stage")]
    file: Option<String>,
    /// Stage to run on [default: the last]
    #[arg(long, value_name = "STAGE", help_heading = "Stage")]
    target: Option<String>,
    /// Set an ARG: NAME=VALUE, or NAME to take it from the environment
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Stage")]
    build_arg: Vec<String>,
    /// Further context: NAME=DIR, NAME=oci-layout://DIR[:TAG|@DIGEST], NAME=docker-image://REF
    #[arg(long, value_name = "NAME=SOURCE", help_heading = "Stage")]
    build_context: Vec<String>,
    /// Platform to build for, such as linux/amd64
    #[arg(long, help_heading = "Stage")]
    platform: Option<String>,
    #[command(flatten)]
    options: BuildOptions,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", env = "BUILDKIT_PROGRESS")]
    progress: Mode,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How the container differs from what the image says.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerArgs {
    /// Set a variable: NAME=VALUE, or NAME to take it from the environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// User, as in the image config: NAME, UID, NAME:GROUP, UID:GID
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Mount, as of RUN: type=bind[,from=STAGE][,source=PATH],target=PATH, or type=cache, tmpfs,
    /// secret or ssh. A bind without from is the context, as a copy that goes with the container
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount: Vec<String>,
    /// Network: default, none, or host, which --allow network.host must grant
    #[arg(long, value_enum, default_value = "default", value_name = "MODE")]
    pub(crate) network: Network,
    /// Security: sandbox, or insecure, which --allow security.insecure must grant
    #[arg(long, value_enum, default_value = "sandbox", value_name = "MODE")]
    pub(crate) security: Security,
    /// Host name
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Line of /etc/hosts
    #[arg(long, value_name = "NAME:IP")]
    pub(crate) add_host: Vec<String>,
    /// Give the program a terminal, whatever the command has [default: if it has one]
    #[arg(short, long, conflicts_with = "no_tty")]
    pub(crate) tty: bool,
    /// Give the program pipes, whatever the command has
    #[arg(short = 'T', long)]
    pub(crate) no_tty: bool,
}

/// The values of `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Network {
    /// As RUN steps have it
    #[default]
    Default,
    /// Loopback only
    None,
    /// That of the host
    Host,
}

/// The values of `--security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Security {
    /// As RUN steps have it
    #[default]
    Sandbox,
    /// All capabilities, and no filter on system calls
    Insecure,
}

impl RunArgs {
    /// Takes the build of the stage apart from what is run on it.
    pub(crate) fn into_build(self) -> (ContainerArgs, Vec<String>, BuildArgs) {
        let results = ResultArgs {
            output: Vec::new(),
            tag: Vec::new(),
            push: false,
            metadata_file: None,
            iidfile: None,
            progress: self.progress,
        };
        let build = BuildArgs {
            context: self.context,
            file: self.file,
            target: self.target,
            build_arg: self.build_arg,
            label: Vec::new(),
            build_context: self.build_context,
            platform: self.platform,
            network: None,
            debug_shell: None,
            call: None,
            check: false,
            common: CommonArgs {
                results,
                options: self.options,
                connection: self.connection,
                engine: self.engine,
            },
        };
        (self.container, self.command, build)
    }
}
