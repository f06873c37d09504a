//! The file op: actions on active layers, without a process or a mount (section 6.4).
//!
//! Actions run in an order in which results come before their uses. A result that has one use, as
//! the tree that the next action changes, is handed on unsealed, so a chain makes one layer; any
//! other result is committed first (row FIL-02).

use std::sync::Arc;

use async_trait::async_trait;
use lamina_fileops::Action as FileAction;
use lamina_fileops::Owner as TreeOwner;
use lamina_fileops::UserRef;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Tree;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::LogStream;

use super::BuildContext;
use super::Leftovers;
use super::OpFailure;
use super::cache_map;
use super::digest::content_digest;
use super::digest::no_digest;
use super::value;
use crate::Services;
use crate::Snapshot;
use crate::SolveSubject;
use crate::model::Action;
use crate::model::FileStep;
use crate::model::Operand;
use crate::model::Owner;
use crate::model::OwnerId;

/// Changes trees.
pub(super) struct FileOp {
    step: Arc<FileStep>,
    name: Arc<str>,
    services: Arc<Services>,
}

impl FileOp {
    pub(super) fn new(step: FileStep, name: &str, services: Arc<Services>) -> Self {
        Self {
            step: Arc::new(step),
            name: Arc::from(name),
            services,
        }
    }
}

#[async_trait]
impl Op<Snapshot, BuildContext> for FileOp {
    async fn cache_map(&self, _: &OpContext<BuildContext>) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.step.key, &self.step.inputs))
    }

    async fn content_digest(
        &self,
        index: usize,
        value: &Snapshot,
        context: &OpContext<BuildContext>,
    ) -> Result<Digest, OpError> {
        let input = self.step.inputs.get(index);
        let digest = content_digest(value, input, &self.services, &context.cancel).await;
        digest.map_err(|failure| no_digest(failure, index, value))
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &OpContext<BuildContext>,
    ) -> Result<Vec<Snapshot>, OpError> {
        let (step, services) = (Arc::clone(&self.step), Arc::clone(&self.services));
        let name = Arc::clone(&self.name);
        let work =
            move |cancel: &CancelToken| Run::new(&step, &services, &inputs, cancel).run(&name);
        let outputs = self.services.blocking.run(&context.cancel, work).await;
        outputs.map_err(|failure| {
            if let Some(error) = failure.copy() {
                let line = format!("{error}\n");
                context.progress.log(LogStream::Stderr, line.as_bytes());
            }
            failure.shared()
        })
    }

    fn takes_slot(&self) -> bool {
        true
    }
}

/// What an action left.
enum Outcome {
    /// Not run yet, or handed on.
    None,
    /// To be changed further by the only one who uses it.
    Active(Target),
    /// May be used any number of times.
    Sealed(Snapshot),
}

/// A layer being made, and what it lies on.
struct Target {
    lower: Snapshot,
    layer: ActiveLayer,
}

/// One run of a file op.
struct Run<'a> {
    step: &'a FileStep,
    services: &'a Services,
    inputs: &'a [Snapshot],
    cancel: &'a CancelToken,
    outcomes: Vec<Outcome>,
}

impl<'a> Run<'a> {
    fn new(
        step: &'a FileStep,
        services: &'a Services,
        inputs: &'a [Snapshot],
        cancel: &'a CancelToken,
    ) -> Self {
        let outcomes = step.actions.iter().map(|_| Outcome::None).collect();
        Self {
            step,
            services,
            inputs,
            cancel,
            outcomes,
        }
    }

    /// Applies the actions; layers that come of it are described by `name`.
    fn run(mut self, name: &str) -> Result<Vec<Snapshot>, OpFailure> {
        for &at in &self.step.order {
            let target = self.target(self.step.actions[at].input)?;
            if let Err(failure) = self.apply(at, &target) {
                return Err(self.leave(at, target, failure));
            }
            let Target { lower, mut layer } = target;
            self.outcomes[at] = if self.step.actions[at].hands_on {
                Outcome::Active(Target { lower, layer })
            } else {
                layer.describe(name);
                Outcome::Sealed(lower.push(layer.commit(self.cancel)?))
            };
        }
        let outputs = self.step.outputs.iter();
        Ok(outputs
            .map(|&at| self.sealed(Operand::Action(at)))
            .collect())
    }

    fn apply(&self, at: usize, target: &Target) -> Result<(), OpFailure> {
        let Action {
            secondary,
            action,
            owner,
            ..
        } = &self.step.actions[at];
        let source = self.tree(*secondary);
        let owner = owner.as_ref().map(|owner| self.owner(owner)).transpose()?;
        let action = with_owner(action.clone(), owner);
        lamina_fileops::apply(&action, &target.layer, Some(&source), self.cancel).map_err(
            |source| match source {
                lamina_fileops::FileOpError::Cancelled(cancelled) => cancelled.into(),
                source => OpFailure::File(source),
            },
        )
    }

    /// Adds what the actions have made so far, the failed one included (row ERR-04).
    fn leave(&self, at: usize, target: Target, failure: OpFailure) -> OpFailure {
        if matches!(failure, OpFailure::Cancelled(_)) {
            return failure;
        }
        let sealed = |outcome: &Outcome| match outcome {
            Outcome::Sealed(snapshot) => Some(snapshot.clone()),
            Outcome::None | Outcome::Active(_) => None,
        };
        let mut mounts: Vec<_> = self.outcomes.iter().map(sealed).collect();
        let half_done = target.layer.commit(self.cancel);
        mounts[at] = half_done.ok().map(|layer| target.lower.push(layer));
        failure.with_left(Leftovers {
            inputs: self.inputs.iter().cloned().map(Some).collect(),
            mounts,
            subject: SolveSubject::FileAction(i64::try_from(at).unwrap_or(i64::MAX)),
        })
    }

    /// The layer that an action changes.
    fn target(&mut self, input: Operand) -> Result<Target, OpFailure> {
        if let Operand::Action(at) = input
            && let Outcome::Active(_) = self.outcomes[at]
            && let Outcome::Active(target) =
                std::mem::replace(&mut self.outcomes[at], Outcome::None)
        {
            return Ok(target);
        }
        let lower = self.sealed(input);
        let layer = self.services.snapshots.prepare(lower.stack())?;
        Ok(Target { lower, layer })
    }

    fn sealed(&self, operand: Operand) -> Snapshot {
        match operand {
            Operand::Action(at) => match &self.outcomes[at] {
                Outcome::Sealed(snapshot) => snapshot.clone(),
                Outcome::None | Outcome::Active(_) => Snapshot::default(),
            },
            operand => value(operand, self.inputs),
        }
    }

    fn tree(&self, operand: Operand) -> Tree {
        self.sealed(operand).stack().tree()
    }

    fn owner(&self, owner: &Owner) -> Result<TreeOwner, OpFailure> {
        let user = |id: &OwnerId| match id {
            OwnerId::Id(id) => Ok(UserRef::Id(*id)),
            OwnerId::Name {
                tree: Operand::Scratch,
                ..
            } => Err(OpFailure::NoNames),
            OwnerId::Name { name, tree } => Ok(UserRef::Name {
                name: name.clone(),
                tree: self.tree(*tree),
            }),
        };
        Ok(TreeOwner {
            user: owner.user.as_ref().map(user).transpose()?,
            group: owner.group.as_ref().map(user).transpose()?,
        })
    }
}

fn with_owner(mut action: FileAction, owner: Option<TreeOwner>) -> FileAction {
    match &mut action {
        FileAction::Copy(op) => op.owner = owner,
        FileAction::MkFile(op) => op.owner = owner,
        FileAction::MkDir(op) => op.owner = owner,
        FileAction::Symlink(op) => op.owner = owner,
        FileAction::Rm(_) => {}
    }
    action
}
