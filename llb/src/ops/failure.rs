//! Why a step failed.

use std::fmt;
use std::sync::Arc;

use lamina_executor::CdiError;
use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_fileops::FileOpError;
use lamina_session::SessionError;
use lamina_snapshotter::SnapshotError;
use lamina_solver::OpError;
use lamina_sources::SourceError;
use lamina_types::BlockingError;
use lamina_types::Cancelled;

use crate::BuildError;
use crate::CacheMountError;
use crate::Room;
use crate::Snapshot;
use crate::SolveSubject;
use crate::definition::LoadError;

/// A step failed; shared between all builds that waited for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpFailure {
    /// Something else, with what is left of the op (rows ERR-03 to ERR-05).
    #[error("{source}")]
    Left {
        source: Box<Self>,
        left: Box<Leftovers>,
    },
    /// It failed twice because there is no space left, the second time after making room.
    #[error("{source}: {room}")]
    NoRoom { source: OpError, room: Room },
    /// Nobody waits for it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The process ended otherwise than it should (row EXC-12).
    #[error("process {command:?} did not complete successfully: {}", status_text(.status))]
    Process {
        command: String,
        status: ExitStatus,
        /// There was no space left when it ended.
        on_full_disk: bool,
    },
    /// The process could not be run.
    #[error("process {command:?} did not complete successfully: {source}")]
    Exec { command: String, source: ExecError },
    /// An action of a file op failed; clients know the words of the cause.
    #[error("{}", cause(.0))]
    File(#[source] FileOpError),
    /// Content of an input could not be read for the cache key (row ERR-05).
    #[error(
        "failed to calculate checksum of ref {label}: {}{}",
        checksum_text(.source),
        reason_text(.reason.as_deref())
    )]
    Checksum {
        label: String,
        source: SnapshotError,
        /// Why something is not found, if that can be said.
        reason: Option<String>,
    },
    /// What a copy requires is not there.
    #[error(
        "failed to calculate checksum of ref {label}: {path:?}: not found{}",
        reason_text(.reason.as_deref())
    )]
    NotIncluded {
        label: String,
        path: String,
        /// Why not, if that can be said.
        reason: Option<String>,
    },
    /// An owner is named, and there is no tree in which names could be looked up. Worded as BuildKit
    /// does.
    #[error("invalid user index: -1")]
    NoNames,
    /// A device of the host cannot be had.
    #[error(transparent)]
    Device(#[from] CdiError),
    /// The client has no such secret, or cannot read it.
    #[error("secret {0}: not found")]
    NoSecret(String),
    /// The client could not answer.
    #[error(transparent)]
    Session(SessionError),
    /// Layers could not be read or written.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// A source could not be resolved or read.
    #[error(transparent)]
    Source(Box<SourceError>),
    /// A cache directory could not be had.
    #[error(transparent)]
    CacheMount(Box<CacheMountError>),
    /// The work was lost.
    #[error(transparent)]
    Blocking(BlockingError),
    /// The definition that a build op found is wrong.
    #[error("failed to load LLB: {0}")]
    Load(#[from] LoadError),
    /// The file that a build op reads is no definition.
    #[error("{path}: not an LLB definition: {source}")]
    NotLlb {
        path: String,
        source: prost::DecodeError,
    },
    /// The build that a build op runs failed; its error stands for this one.
    #[error("{0}")]
    Nested(Box<BuildError>),
    /// A step without a root was let through.
    #[error("internal error: a step has no root")]
    NoRoot,
    /// The executor kept a layer that the step was to give.
    #[error("internal error: the layer of an output is lost")]
    LostLayer,
    /// An op was asked for a content key that it does not offer.
    #[error("internal error: this op has no content keys")]
    NoContentKey,
    /// A step has nobody to ask for what it needs.
    #[error("internal error: no build wants this step")]
    NoBuild,
}

/// What is left of an op that failed.
#[derive(Clone)]
pub(crate) struct Leftovers {
    /// One for each mount of an exec, or input of a file op.
    pub(crate) inputs: Vec<Option<Snapshot>>,
    /// What the mounts of an exec, or the results of actions, are like now.
    pub(crate) mounts: Vec<Option<Snapshot>>,
    pub(crate) subject: SolveSubject,
}

impl fmt::Debug for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leftovers")
            .field("inputs", &self.inputs.len())
            .field("mounts", &self.mounts.len())
            .field("subject", &self.subject)
            .finish()
    }
}

/// Words what is missing as clients have known it for long: `"/path": not found`.
fn checksum_text(source: &SnapshotError) -> String {
    match source {
        SnapshotError::Io(error) if source.is_not_found() => {
            format!("{:?}: not found", error.path)
        }
        SnapshotError::TooManyLinks { .. } => "too many links".to_owned(),
        other => other.to_string(),
    }
}

/// Leaves out what was to be copied where.
fn cause(error: &FileOpError) -> &FileOpError {
    match error {
        FileOpError::Copy { cause, .. } => cause,
        other => other,
    }
}

fn reason_text(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

fn status_text(status: &ExitStatus) -> String {
    match status {
        ExitStatus::OutOfMemory => "cannot allocate memory".to_owned(),
        status => match status.signal_name() {
            Some(name) => format!("exit code: {} (killed by {name})", exit_code(*status)),
            None => format!("exit code: {}", exit_code(*status)),
        },
    }
}

/// Returns the code as shells count it: 128 more than the signal for a death by signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    const KILLED: i32 = 9;
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
        ExitStatus::OutOfMemory => 128 + KILLED,
    }
}

impl OpFailure {
    /// Returns the exit code of the process that failed (row ERR-06).
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Process { status, .. } => Some(exit_code(*status)),
            Self::Left { source, .. } => source.exit_code(),
            Self::NoRoom { source, .. } => source.downcast_ref::<Self>()?.exit_code(),
            _ => None,
        }
    }

    /// Says whether it is about a process that ended when the disk was full.
    pub(crate) fn is_on_full_disk(&self) -> bool {
        match self {
            Self::Process { on_full_disk, .. } => *on_full_disk,
            Self::Left { source, .. } => source.is_on_full_disk(),
            _ => false,
        }
    }

    /// Returns the error of a copy, which names what was to be copied where, for the step's log.
    pub(crate) fn copy(&self) -> Option<&FileOpError> {
        match self {
            Self::File(error @ FileOpError::Copy { .. }) => Some(error),
            Self::Left { source, .. } => source.copy(),
            _ => None,
        }
    }

    /// Returns what is left of the op, if anything (row ERR-03).
    pub(crate) fn left(&self) -> Option<&Leftovers> {
        match self {
            Self::Left { left, .. } => Some(left),
            Self::NoRoom { source, .. } => source.downcast_ref::<Self>()?.left(),
            _ => None,
        }
    }

    /// Adds what is left of the op; an op that was told to stop leaves nothing.
    pub(crate) fn with_left(self, left: Leftovers) -> Self {
        match self {
            Self::Cancelled(cancelled) => Self::Cancelled(cancelled),
            source => Self::Left {
                source: Box::new(source),
                left: Box::new(left),
            },
        }
    }

    /// Puts it in the form that the solver shares.
    pub(crate) fn shared(self) -> OpError {
        Arc::new(self)
    }
}

impl From<BlockingError> for OpFailure {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Blocking(other),
        }
    }
}

impl From<SnapshotError> for OpFailure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Snapshot(other),
        }
    }
}

impl From<CacheMountError> for OpFailure {
    fn from(error: CacheMountError) -> Self {
        match error {
            CacheMountError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::CacheMount(Box::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        for (status, code, text) in [
            (ExitStatus::Code(137), 137, "exit code: 137"),
            (
                ExitStatus::Signal(9),
                137,
                "exit code: 137 (killed by SIGKILL)",
            ),
            (
                ExitStatus::Signal(11),
                139,
                "exit code: 139 (killed by SIGSEGV)",
            ),
            (ExitStatus::Signal(63), 191, "exit code: 191"),
            (ExitStatus::OutOfMemory, 137, "cannot allocate memory"),
        ] {
            let failure = OpFailure::Process {
                command: "/bin/x y".to_owned(),
                status,
                on_full_disk: false,
            };
            let words = format!("process \"/bin/x y\" did not complete successfully: {text}");
            assert_eq!(failure.to_string(), words);
            assert_eq!(failure.exit_code(), Some(code));
        }
    }

    #[test]
    fn copies_keep_the_words_of_their_cause_and_name_the_rest_to_the_log() {
        let cause = FileOpError::NotADirectory {
            path: "/srv/x".to_owned(),
        };
        let words = cause.to_string();
        let failure = OpFailure::File(FileOpError::Copy {
            from: "/x".to_owned(),
            to: "/srv".to_owned(),
            cause: Box::new(cause),
        });
        let failure = failure.with_left(Leftovers {
            inputs: Vec::new(),
            mounts: Vec::new(),
            subject: SolveSubject::FileAction(0),
        });
        assert_eq!(failure.to_string(), words);
        let logged = failure.copy().expect("a copy failed").to_string();
        assert_eq!(logged, format!("copy /x to /srv: {words}"));
        assert!(OpFailure::File(FileOpError::RemoveRoot).copy().is_none());
    }
}
