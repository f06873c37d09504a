//! The exec op: a process (section 6.2).

use std::sync::Arc;

use async_trait::async_trait;
use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_executor::HostDevices;
use lamina_executor::ProcessSpec;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_types::Digest;

use super::BuildContext;
use super::Leftovers;
use super::OpFailure;
use super::cache_map;
use super::context::secret;
use super::digest::content_digest;
use super::digest::no_digest;
use super::exec_mounts;
use super::exec_mounts::Prepared;
use super::exec_outputs;
use super::failure::exit_code;
use super::room;
use crate::Services;
use crate::Snapshot;
use crate::SolveSubject;
use crate::model::ExecStep;
use crate::model::Mount;
use crate::model::Operand;

/// Runs a process.
pub(super) struct ExecOp {
    pub(super) step: Arc<ExecStep>,
    pub(super) services: Arc<Services>,
}

type Context = OpContext<BuildContext>;

#[async_trait]
impl Op<Snapshot, BuildContext> for ExecOp {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OpError> {
        Ok(cache_map(self.step.key, &self.step.inputs))
    }

    async fn content_digest(
        &self,
        index: usize,
        value: &Snapshot,
        context: &Context,
    ) -> Result<Digest, OpError> {
        let input = self.step.inputs.get(index);
        let digest = content_digest(value, input, &self.services, &context.cancel).await;
        digest.map_err(|failure| no_digest(failure, index, value))
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &Context,
    ) -> Result<Vec<Snapshot>, OpError> {
        self.run(inputs, context).await.map_err(OpFailure::shared)
    }

    fn takes_slot(&self) -> bool {
        true
    }
}

fn left(inputs: Vec<Option<Snapshot>>, mounts: Vec<Option<Snapshot>>) -> Leftovers {
    Leftovers {
        inputs,
        mounts,
        subject: SolveSubject::Op,
    }
}

impl ExecOp {
    async fn run(
        &self,
        inputs: Vec<Snapshot>,
        context: &Context,
    ) -> Result<Vec<Snapshot>, OpFailure> {
        let env = environment(&self.step, context).await?;
        let given = self.given(&inputs);
        let prepared = exec_mounts::prepare(&self.step, &self.services, inputs, context).await?;
        let Prepared {
            root,
            mounts,
            fates,
            cache_dirs,
        } = prepared;
        let spec = process_spec(&self.step, &self.services, env, root, mounts)?;
        let executor = &self.services.executor;
        let finished = executor.run(spec, &context.progress, &context.cancel).await;
        // Other steps may have the cache directories now; the layers are ours alone.
        drop(cache_dirs);
        let finished = match finished {
            Ok(finished) => finished,
            Err(error) => return Err(self.not_run(error).with_left(left(given.clone(), given))),
        };
        let blocking = &self.services.blocking;
        let Err(failure) = self.check(finished.status) else {
            return exec_outputs::collect(finished, fates, blocking, &context.cancel).await;
        };
        let mounts = given.clone();
        let mounts = exec_outputs::left(finished, fates, mounts, blocking, &context.cancel).await;
        Err(match mounts {
            Ok(mounts) => failure.with_left(left(given, mounts)),
            // What the process did wrong matters more than what cannot be kept of it.
            Err(_) => failure,
        })
    }

    /// What each mount is made of; `None` = nothing.
    fn given(&self, inputs: &[Snapshot]) -> Vec<Option<Snapshot>> {
        let given = |mount: &Mount| match mount.input {
            Operand::Input(input) => inputs.get(input).cloned(),
            Operand::Scratch | Operand::Action(_) => None,
        };
        self.step.mounts.iter().map(given).collect()
    }

    fn not_run(&self, error: ExecError) -> OpFailure {
        match error {
            ExecError::Cancelled(cancelled) => OpFailure::Cancelled(cancelled),
            source => OpFailure::Exec {
                command: self.step.command(),
                source,
            },
        }
    }

    /// Refuses an exit that the step does not call success (rows EXC-11, EXC-12).
    fn check(&self, status: ExitStatus) -> Result<(), OpFailure> {
        let accepted = match status {
            ExitStatus::OutOfMemory => false,
            status => self.step.accepts(exit_code(status)),
        };
        if accepted {
            return Ok(());
        }
        Err(OpFailure::Process {
            command: self.step.command(),
            status,
            // To be asked now: what the step has written goes with its layer.
            on_full_disk: room::is_nothing_left(&self.services),
        })
    }
}

/// Returns the step's variables and its secrets (row EXC-34).
pub(crate) async fn environment(
    step: &ExecStep,
    context: &Context,
) -> Result<Vec<String>, OpFailure> {
    let mut env = step.env.clone();
    for wanted in &step.secret_env {
        let value = match secret(context, &wanted.id).await? {
            Some(value) => value,
            None if wanted.optional => Vec::new(),
            None => return Err(OpFailure::NoSecret(wanted.id.clone())),
        };
        env.push(format!(
            "{}={}",
            wanted.name,
            String::from_utf8_lossy(&value)
        ));
    }
    Ok(env)
}

/// Returns what the executor runs for a step.
pub(crate) fn process_spec(
    step: &ExecStep,
    services: &Services,
    env: Vec<String>,
    root: lamina_executor::Root,
    mounts: Vec<lamina_executor::StepMount>,
) -> Result<ProcessSpec, OpFailure> {
    Ok(ProcessSpec {
        args: step.args.clone(),
        env,
        cwd: step.cwd.clone(),
        user: step.user.clone(),
        hostname: step.hostname.clone(),
        extra_hosts: step.extra_hosts.clone(),
        network: step.network,
        security: step.security,
        ulimits: step.ulimits.clone(),
        cgroup_parent: step.cgroup_parent.clone(),
        resources: step.resources.clone(),
        devices: devices(step, services)?,
        emulator: (services.emulator)(&step.platform),
        remove_mount_stubs_recursive: step.remove_mount_stubs_recursive,
        root,
        mounts,
    })
}

/// Returns what the devices of a step bring along, as they are described now (row EXC-35).
fn devices(step: &ExecStep, services: &Services) -> Result<HostDevices, OpFailure> {
    if step.devices.is_empty() {
        return Ok(HostDevices::default());
    }
    Ok(services.devices.read().edits(&step.devices)?)
}
