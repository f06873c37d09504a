//! Arguments of commands that ask a daemon: `du`, `prune`, `history`, `debug`, `dial-stdio`.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

use super::ConnectionArgs;
use crate::progress::Mode;

/// Arguments of `lamina du` (row CLI-14).
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// Only what matches, such as type==exec.cachemount; of several one must match, a,b means both
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Everything that is known of each record
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// json or '{{json .}}' for programs
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `lamina prune` (row CLI-15).
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Also what belongs to frontends and the daemon itself
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only what matches, such as type==source.local; of several one must match, a,b means both
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Keep what was used within this time, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) keep_duration: Option<std::time::Duration>,
    /// Megabytes that are kept in any case
    #[arg(long, value_name = "MB", visible_alias = "keep-storage-min")]
    pub(crate) reserved_space: Option<u32>,
    /// Megabytes that the cache may take
    #[arg(long, value_name = "MB", visible_alias = "keep-storage")]
    pub(crate) max_used_space: Option<u32>,
    /// Megabytes that are to be free on the disk
    #[arg(long, value_name = "MB", visible_alias = "free-storage")]
    pub(crate) min_free_space: Option<u32>,
    /// Everything that is known of each record
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// json or '{{json .}}' for programs
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `lamina history` (rows BX-08, CLI-21).
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    pub(crate) command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// List builds, the newest first
    Ls {
        /// Only builds that match, such as status==error; of several one must match, a,b means both
        #[arg(short, long, value_name = "FILTER")]
        filter: Vec<String>,
        /// json or '{{json .}}' for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show the progress and the output of a build again, or follow one that runs
    Logs {
        /// The build; ^N counts back from the newest, ^0 [default: the newest]
        #[arg(value_name = "BUILD")]
        build: Option<String>,
        /// How progress is shown
        #[arg(long, value_enum, default_value = "plain")]
        progress: Mode,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show what is known of a build
    Inspect {
        /// The build; ^N counts back from the newest, ^0 [default: the newest]
        #[arg(value_name = "BUILD")]
        build: Option<String>,
        /// json or '{{json .}}' for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Forget builds
    Rm {
        /// The builds; ^N counts back from the newest, ^0
        #[arg(value_name = "BUILD", required_unless_present = "all")]
        builds: Vec<String>,
        /// All that have ended
        #[arg(long, conflicts_with = "builds")]
        all: bool,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Arguments of `lamina debug` (rows CLI-18 to CLI-20).
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    pub(crate) command: DebugCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// List what steps run on
    Workers {
        /// Only workers that match; of several one must match, a,b means both
        #[arg(short, long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Labels, policies and versions too
        #[arg(short, long)]
        verbose: bool,
        /// json or '{{json .}}' for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show product, version and snapshotter of the daemon
    Info {
        /// json or '{{json .}}' for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show a marshalled LLB definition; needs no daemon
    DumpLlb {
        /// The definition [default: standard input]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// As a graph for the program dot, instead of JSON lines
        #[arg(long)]
        dot: bool,
    },
}

/// Arguments of `lamina dial-stdio` (row CLI-17).
#[derive(Debug, Args)]
pub(crate) struct DialArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
