//! What ops mean, once they are parsed: the types that the rest of the crate works on.
//!
//! Parsing checks everything that can be checked without running (row LLB-04), resolves indices
//! to [`Operand`]s, and computes the op's own part of the cache key. A value of these types can be
//! run as it is.

mod compose;
mod error;
mod exec;
mod exec_key;
mod file;
mod file_action;
mod file_key;
mod mount;
mod required;
mod source;

use lamina_proto::pb;
use lamina_proto::pb::op::Op as OpKind;
use lamina_snapshotter::Selection;
use lamina_types::Digest;
use lamina_types::Platform;

pub use error::SpecError;

pub(crate) use compose::BuildStep;
pub(crate) use compose::DiffStep;
pub(crate) use compose::MergeStep;
pub(crate) use compose::PassthroughStep;
pub(crate) use exec::ExecStep;
pub(crate) use exec::resources;
pub(crate) use file::Action;
pub(crate) use file::FileStep;
pub(crate) use file_action::Owner;
pub(crate) use file_action::OwnerId;
pub(crate) use mount::CacheSharing;
pub(crate) use mount::ForwardedSocket;
pub(crate) use mount::Mount;
pub(crate) use mount::MountType;
pub(crate) use required::RequiredPath;
pub(crate) use source::SourceStep;

/// One op, parsed.
#[derive(Debug)]
pub(crate) enum Step {
    Source(SourceStep),
    Exec(Box<ExecStep>),
    File(FileStep),
    Build(BuildStep),
    Merge(MergeStep),
    Diff(DiffStep),
    Passthrough(PassthroughStep),
}

/// Where an op takes a tree from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Nothing: an empty tree.
    Scratch,
    /// An input of the op.
    Input(usize),
    /// The result of an earlier action of the same file op.
    Action(usize),
}

/// How one input enters the cache key (row LLB-17).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InputUse {
    /// Distinguishes uses of the input by which parts are read.
    pub(crate) selector: Option<Digest>,
    /// The parts by whose content the input can be named; `None` = only by its own key.
    pub(crate) content: Option<Vec<Selection>>,
    /// What must be among those parts.
    pub(crate) required: Vec<RequiredPath>,
}

/// The wire's "no input" and "no output".
const NONE: i64 = -1;

/// Resolves the index of an input; -1 is scratch.
fn input_operand(index: i64, inputs: usize) -> Result<Operand, SpecError> {
    if index == NONE {
        return Ok(Operand::Scratch);
    }
    match usize::try_from(index) {
        Ok(input) if input < inputs => Ok(Operand::Input(input)),
        _ => Err(SpecError::BadInput { index, inputs }),
    }
}

impl Step {
    /// Parses one op for the platform `platform`, which is normalised.
    pub(crate) fn parse(op: pb::Op, platform: &Platform) -> Result<Self, SpecError> {
        let inputs = op.inputs.len();
        Ok(match op.op.ok_or(SpecError::NoOp)? {
            OpKind::Source(source) => Self::Source(SourceStep::parse(source, platform)?),
            OpKind::Exec(exec) => Self::Exec(Box::new(ExecStep::parse(exec, inputs, platform)?)),
            OpKind::File(file) => Self::File(FileStep::parse(file, inputs)?),
            OpKind::Build(build) => Self::Build(BuildStep::parse(build, inputs)?),
            OpKind::Merge(merge) => Self::Merge(MergeStep::parse(merge, inputs)?),
            OpKind::Diff(diff) => Self::Diff(DiffStep::parse(diff, inputs)?),
            OpKind::Passthrough(op) => Self::Passthrough(PassthroughStep::parse(op, inputs)?),
        })
    }

    /// Returns how many outputs running it gives.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Source(_) | Self::Build(_) | Self::Merge(_) | Self::Diff(_) => 1,
            Self::Exec(exec) => exec.outputs(),
            Self::File(file) => file.outputs.len(),
            Self::Passthrough(passthrough) => passthrough.outputs.len(),
        }
    }
}
