//! What steps do: the solver's `Op` for each kind.
//!
//! | op | cache key | runs |
//! |---|---|---|
//! | source | what the source resolves to | pulls, transfers |
//! | exec | everything but a few fields (row EXC-39), content of mounted inputs | a process |
//! | file | actions, content of copied sources (row FIL-25) | file operations on an active layer |
//! | merge, diff, passthrough | the op (row OPS-09) | list operations |
//! | build | the op | solves a definition found in an input |

mod build;
mod clients;
mod compose;
mod context;
mod digest;
mod exec;
mod exec_mounts;
mod exec_outputs;
mod exec_ssh;
mod failure;
mod file;
mod missing;
mod room;
mod source;

use std::sync::Arc;

use lamina_solver::CacheMap;
use lamina_solver::InputKey;
use lamina_solver::Op;
use lamina_types::Digest;

use crate::Services;
use crate::Snapshot;
use crate::model::InputUse;
use crate::model::Operand;
use crate::model::Step;

pub use context::BuildContext;
pub(crate) use context::NestedSolve;
pub(crate) use exec::environment;
pub(crate) use exec::process_spec;
pub(crate) use exec_mounts::CacheDirs;
pub(crate) use exec_mounts::prepare as prepare_mounts;
pub(crate) use failure::Leftovers;
pub(crate) use failure::OpFailure;
pub(crate) use failure::exit_code;
pub use room::MakeRoom;
pub use room::Room;

/// The op of one step; layers that it makes are described by its `name`.
pub(crate) fn op(
    step: Step,
    name: &str,
    services: &Arc<Services>,
) -> Arc<dyn Op<Snapshot, BuildContext>> {
    Arc::new(room::WithRoom {
        op: bare_op(step, name, Arc::clone(services)),
        services: Arc::clone(services),
    })
}

fn bare_op(step: Step, name: &str, services: Arc<Services>) -> Arc<dyn Op<Snapshot, BuildContext>> {
    match step {
        Step::Source(step) => Arc::new(source::SourceOp::new(step, services)),
        Step::Exec(step) => Arc::new(exec::ExecOp {
            step: Arc::from(step),
            services,
        }),
        Step::File(step) => Arc::new(file::FileOp::new(step, name, services)),
        Step::Build(step) => Arc::new(build::BuildOp { step, services }),
        Step::Merge(step) => Arc::new(compose::MergeOp { step, services }),
        Step::Diff(step) => Arc::new(compose::DiffOp { step, services }),
        Step::Passthrough(step) => Arc::new(compose::PassthroughOp(step)),
    }
}

/// The cache map of an op whose inputs count as `inputs` says.
fn cache_map(digest: Digest, inputs: &[InputUse]) -> CacheMap {
    let input = |input: &InputUse| InputKey {
        selector: input.selector,
        content: input.content.is_some(),
    };
    CacheMap {
        digest,
        inputs: inputs.iter().map(input).collect(),
    }
}

/// The value behind an operand that is no action.
fn value(operand: Operand, inputs: &[Snapshot]) -> Snapshot {
    match operand {
        Operand::Input(input) => inputs.get(input).cloned().unwrap_or_default(),
        Operand::Scratch | Operand::Action(_) => Snapshot::default(),
    }
}
