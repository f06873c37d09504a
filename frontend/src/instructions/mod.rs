//! Syntax tree to typed instructions.
//!
//! [`stages`] checks every node's flags and arguments and groups the instructions into stages.
//! Variables are still in the words: their values depend on what ran before, so
//! [`Instruction::expand`] puts them in when an instruction's turn comes (row DFL-04).

mod config;
mod copy;
mod csv;
mod duration;
mod error;
mod expansion;
mod flags;
mod mount;
mod parse;
mod run;
mod stage;

pub use config::Healthcheck;
pub use copy::Copy;
pub use copy::InlineFile;
pub use csv::CsvError;
pub use csv::fields as csv_fields;
pub use duration::DurationError;
pub use duration::format as format_duration;
pub use error::InstructionError;
pub use expansion::ExpandWord;
pub use mount::Mount;
pub use mount::MountKind;
pub use mount::Sharing;
pub(crate) use mount::parse_bool;
pub use parse::parse_node;
pub use run::Network;
pub use run::Run;
pub use run::Security;
pub use run::ShellFile;
pub use stage::FileParts;
pub use stage::Stage;
pub use stage::StageError;
pub use stage::stages;

use crate::lines::Lines;

/// Where an instruction comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Its name as written.
    pub keyword: String,
    /// Its text on one line.
    pub code: String,
    /// Its lines.
    pub lines: Lines,
    /// The comments above it.
    pub comments: Vec<String>,
}

/// An instruction of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Where it comes from.
    pub origin: Origin,
    /// What it does.
    pub action: Action,
}

/// What an instruction does (rows DFI-04 to DFI-42).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `ADD`
    Add(Copy),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<KeyValue>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<KeyValue>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`, with the text of the trigger.
    Onbuild(String),
    /// `RUN`
    Run(Box<Run>),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

/// A command: words to run as they are, or a text for the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine {
    /// The words; for the shell, the text as the only one (none if it is empty).
    pub words: Vec<String>,
    /// The shell runs it.
    pub shell: bool,
}

/// `key=value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Written as `key value`.
    pub legacy: bool,
}

/// A build argument: `name` or `name=default`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its default, or later its value.
    pub value: Option<String>,
    /// What a comment above says of it: `# name <description>`.
    pub description: String,
}

#[cfg(test)]
mod tests;
