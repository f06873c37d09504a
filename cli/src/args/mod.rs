//! The command line.

mod connection;
mod run;
mod usage;

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::CommandFactory as _;
use clap::FromArgMatches as _;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use lamina_daemon::DaemonArgs;

pub(crate) use connection::ConnectionArgs;
pub(crate) use run::ContainerArgs;
pub(crate) use run::Network;
pub(crate) use run::RunArgs;
pub(crate) use run::Security;
pub(crate) use usage::DebugArgs;
pub(crate) use usage::DebugCommand;
pub(crate) use usage::DialArgs;
pub(crate) use usage::DuArgs;
pub(crate) use usage::HistoryArgs;
pub(crate) use usage::HistoryCommand;
pub(crate) use usage::PruneArgs;

use crate::progress::Mode;

/// Builds container images.
///
/// Lamina speaks BuildKit's language: Dockerfiles and LLB go in, images, archives and directories
/// come out. Where this user's daemon runs, it builds; else the engine runs inside the command, and
/// neither a daemon nor root is needed.
#[derive(Debug, Parser)]
#[command(name = "lamina", version, max_term_width = 100)]
#[command(after_help = "Examples:
  lamina build -o out .                               the result as a directory
  lamina build -t app:1 -o type=oci,dest=app.tar .    an OCI archive
  lamina build -t registry.example/app:1 --push .     to a registry
  lamina build --target test --progress plain .       one stage, with plain lines
  lamina run --target test . -- make check            a program on a stage
  lamina build --check .                              rules that the Dockerfile breaks
  lamina build --debug-shell .                        a shell where a step fails
  lamina daemon                                       serve docker buildx and others
  lamina build --addr tcp://builder:1234 .            by a daemon elsewhere
  lamina history logs                                 what the last build of the daemon printed
  lamina doctor                                       what this machine can do, and how to fix it")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `lamina build --help` ends with.
const BUILD_EXAMPLES: &str = "Examples:
  lamina build -t app:1 --push .                      to the registry in the name
  lamina build --check .                              rules that the Dockerfile breaks
  lamina build --call outline --target test .         arguments, secrets and agents of a stage
  lamina build --call check,format=json .             for programs; exit code 1 if one is broken

A line `# check=skip=RULE,RULE` at the top of the Dockerfile turns rules off, one above an
instruction does so there, and `# check=error=true` at the top makes builds fail that break others.";

/// What `lamina run --help` ends with.
const RUN_EXAMPLES: &str = "Examples:
  lamina run                                          the command of the image in .
  lamina run -- sh                                    a shell in it
  lamina run --target build src -- make -n            a program on a stage
  tar c . | lamina run -- tar t                       with pipes
  lamina run --mount target=/src -w /src -- ls        with a copy of the context
  lamina run --mount type=cache,target=/c -- du /c    with a cache of RUN steps
  lamina run --allow network.host --network host      on the network of the host";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(after_help = BUILD_EXAMPLES)]
    Build(Box<BuildArgs>),
    /// Build a marshalled LLB definition from standard input
    #[command(
        long_about = "Build a marshalled LLB definition from standard input, as `buildctl \
                            build` takes it.\n\nLocal sources of the definition are given with \
                            --local NAME=DIR."
    )]
    Solve(Box<SolveArgs>),
    /// Run a program in a container on a stage of a Dockerfile
    #[command(
        long_about = "Run a program in a container on a stage of a Dockerfile.\n\nThe stage is \
                      built first. The program gets the variables, directory and user of the \
                      image, and the streams of this command: a terminal if it has one, else \
                      pipes. The exit code is the program's. What it writes is gone afterwards.",
        after_help = RUN_EXAMPLES
    )]
    Run(Box<RunArgs>),
    /// Serve BuildKit's API to docker buildx and other clients
    #[command(
        disable_version_flag = true,
        long_about = "Serve BuildKit's API to docker buildx and other clients.\n\nFlags and \
                      configuration file are those of buildkitd; a program with the name laminad \
                      or buildkitd starts the same."
    )]
    Daemon(Box<DaemonArgs>),
    /// Show what takes space in a daemon's cache
    Du(DuArgs),
    /// Remove what is not needed from a daemon's cache
    Prune(PruneArgs),
    /// Builds that a daemon remembers: list, show again, forget
    History(HistoryArgs),
    /// Look into a daemon or a definition
    Debug(DebugArgs),
    /// Connect standard input and output to a daemon
    DialStdio(DialArgs),
    /// Test what builds need of this machine, and say how to get it
    #[command(
        long_about = "Test what builds need of this machine, and say how to get it.\n\nEvery \
                      capability is tried, not looked up. The exit code is 1 if builds cannot run."
    )]
    Doctor(DoctorArgs),
}

/// Names of this program that start the daemon, as its packages and scripts call it.
const DAEMON_NAMES: [&str; 2] = ["laminad", "buildkitd"];

/// The daemon under a name of its own.
#[derive(Debug, Parser)]
#[command(version = lamina_daemon::version_line(), max_term_width = 100)]
#[command(about = "Builds container images for BuildKit's clients")]
struct DaemonCli {
    #[command(flatten)]
    args: DaemonArgs,
}

/// Reads the command line of this process; ends it with a message if it cannot be understood.
pub(crate) fn parse() -> Cli {
    parse_from(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

fn parse_from(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    let name = name.and_then(|name| DAEMON_NAMES.into_iter().find(|known| name == *known));
    let Some(name) = name else {
        return Cli::try_parse_from(words);
    };
    let matches = DaemonCli::command()
        .name(name)
        .bin_name(name)
        .try_get_matches_from(words)?;
    let args = DaemonCli::from_arg_matches(&matches)?.args;
    let command = Command::Daemon(Box::new(args));
    Ok(Cli { command })
}

/// Arguments of `lamina doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Folder for layers and cache that is tried [env: LAMINA_ROOT] [default: /var/lib/lamina, or
    /// ~/.local/share/lamina]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Also compare all layers of that folder with what they were made with, and drop damaged ones:
    /// what they were is built again. Waits for a daemon that has the folder to end
    #[arg(long)]
    pub(crate) check_store: bool,
}

/// How the engine inside the command is set up. Any of these means that it is used.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Engine inside the command (no daemon is used with these)")]
pub(crate) struct EngineArgs {
    /// Build inside the command, also where a daemon runs
    #[arg(long)]
    pub(crate) embedded: bool,
    /// Folder for layers and cache [env: LAMINA_ROOT] [default: /var/lib/lamina, or
    /// ~/.local/share/lamina]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What makes the trees that steps see [default: auto]
    #[arg(long, value_enum)]
    pub(crate) snapshotter: Option<Snapshotter>,
    /// What runs steps: builtin, or an OCI runtime such as crun or runc by name or path [default:
    /// builtin]
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    /// Registry to reach by plain http, such as localhost:5000
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
}

/// What the build may use and must obey.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Build")]
pub(crate) struct BuildOptions {
    /// Run every step anew
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Secret for steps: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// Grant a privilege to the build: network.host, security.insecure
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
    /// SSH agent or key for steps: default, or id=NAME[,src=SOCKET]
    #[arg(long, value_name = "SSH")]
    pub(crate) ssh: Vec<String>,
    /// Cache to look in: an image, or type=registry,ref=NAME, type=local,src=DIR..
    #[arg(long, value_name = "CACHE", visible_alias = "import-cache")]
    pub(crate) cache_from: Vec<String>,
    /// Cache to write: an image, or type=registry,ref=NAME[,mode=max], type=local,dest=DIR..
    #[arg(long, value_name = "CACHE", visible_alias = "export-cache")]
    pub(crate) cache_to: Vec<String>,
    /// Rules on sources, as JSON
    #[arg(long, value_name = "FILE", env = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")]
    pub(crate) source_policy_file: Option<PathBuf>,
}

/// Reads a duration such as `24h`, or a number of seconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    lamina_daemon::parse_duration(text).ok_or_else(|| "expected a duration such as 24h".to_owned())
}

/// The values of `--snapshotter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snapshotter {
    /// The kernel's overlayfs, or FUSE where that does not work
    Auto,
    /// The kernel's overlayfs, or an error
    Overlay,
    /// An overlay of our own over FUSE, or an error
    Fuse,
    /// A copy of the whole tree for every step
    Copy,
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
}

/// What all builds take, whatever they are made of.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) results: ResultArgs,
    #[command(flatten)]
    pub(crate) options: BuildOptions,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
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
    /// Open a shell where a step fails: with its files, variables, directory and user, on this
    /// terminal. PROGRAM is opened instead of /bin/sh
    #[arg(
        long,
        value_name = "PROGRAM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/bin/sh"
    )]
    pub(crate) debug_shell: Option<String>,
    /// Ask about the Dockerfile instead of building: check (rules that it breaks), outline (what
    /// the stage can be given), targets (its stages), describe (what can be asked); build builds
    #[arg(
        long,
        value_name = "METHOD[,format=json][,ignorestatus=true]",
        conflicts_with = "debug_shell"
    )]
    pub(crate) call: Option<String>,
    /// The same as --call check
    #[arg(long, conflicts_with_all = ["call", "debug_shell"])]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SolveArgs {
    /// Directory behind a local source of the definition
    #[arg(long, value_name = "NAME=DIR")]
    pub(crate) local: Vec<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        DaemonCli::command().debug_assert();
    }

    #[test]
    fn the_short_help_says_what_this_is() {
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with("Builds container images"), "{help}");
    }

    #[test]
    fn some_names_start_the_daemon() {
        for line in [
            "/usr/bin/buildkitd --debug",
            "laminad --debug=true",
            "lamina daemon --debug",
        ] {
            let words = line.split_whitespace().map(OsString::from).collect();
            let command = parse_from(words).expect(line).command;
            assert!(matches!(command, Command::Daemon(_)), "{line}");
        }
        let version = parse_from(vec!["buildkitd".into(), "--version".into()]);
        let version = version.expect_err("printed").to_string();
        assert!(
            version.starts_with("buildkitd github.com/lamina-build/lamina v"),
            "{version}"
        );
    }
}
