//! Processes of a container.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lamina_executor::ExecError;
use lamina_executor::JoinSpec;
use lamina_executor::Launched;
use lamina_executor::Process;
use lamina_executor::ProcessControl;
use lamina_executor::ProcessInput;
use lamina_executor::ProcessOutput;
use lamina_executor::ProcessSpec;
use lamina_executor::ProcessStreams;
use lamina_proto::pb;
use lamina_types::CancelToken;

use super::Container;
use super::Inner;
use super::State;
use super::check;
use crate::BuildError;
use crate::model::ExecStep;
use crate::ops::environment;
use crate::ops::exit_code;
use crate::ops::process_spec;

/// A process to be started (rows EXE-09 to EXE-11).
#[derive(Clone, Debug)]
pub struct ProcessRequest {
    /// Program, variables, directory and user; what concerns the container does not count.
    pub meta: pb::Meta,
    /// As on the wire.
    pub security: i32,
    /// Variables whose values are secrets.
    pub secret_env: Vec<pb::SecretEnv>,
    /// Which streams the caller has.
    pub streams: ProcessStreams,
}

/// A process that runs, and the caller's ends of its streams.
pub struct ContainerProcess {
    /// Signals and sizes.
    pub control: ProcessControl,
    /// Standard input, if one was wanted.
    pub stdin: Option<ProcessInput>,
    /// Standard output, if it was wanted; all output of a terminal.
    pub stdout: Option<ProcessOutput>,
    /// Standard error, if it was wanted.
    pub stderr: Option<ProcessOutput>,
    /// Ends when the process does, with its code: 128 more than the signal if one killed it. An
    /// error means that this is not known. Dropping this kills the process.
    pub exit: BoxFuture<'static, Result<i32, BuildError>>,
}

/// What programs expect of a terminal whose kind nobody has told.
const TERM: &str = "TERM=xterm";

/// What who comes too late is told (row EXE-21).
const OVER: &str = "the container has ended";

impl Container {
    /// Starts a process: the first one of a container with its sandbox, others in it. Returns when
    /// its program runs.
    ///
    /// # Errors
    /// If it may not have what it asks for, or cannot be started (row EXE-20).
    pub async fn start(&self, request: ProcessRequest) -> Result<ContainerProcess, BuildError> {
        let inner = &self.0;
        inner.cancel.check()?;
        let streams = request.streams;
        let step = self.step(request)?;
        check(&inner.entitlements, &step)?;
        let env = environment(&step, &inner.context).await;
        let env = env.map_err(BuildError::of_container)?;
        let mut state = inner.state.lock().await;
        let sandbox = match &*state {
            State::New => None,
            State::Started(sandbox) => Some(sandbox.clone()),
            State::Over => return Err(BuildError::new(OVER)),
        };
        let Some(sandbox) = sandbox else {
            return self.start_first(&mut state, &step, env, streams).await;
        };
        drop(state);
        let counted = Counted::new(inner);
        let executor = &inner.services.executor;
        let joined = executor.join(&sandbox, further(&step, env), streams, &inner.cancel);
        Ok(self.running(joined.await.map_err(not_run)?, counted))
    }

    async fn start_first(
        &self,
        state: &mut State,
        step: &ExecStep,
        env: Vec<String>,
        streams: ProcessStreams,
    ) -> Result<ContainerProcess, BuildError> {
        let inner = &self.0;
        // Until it runs, nobody else may use what it uses up.
        *state = State::Over;
        let spec = inner.spec(step, env)?;
        let counted = Counted::new(inner);
        let launched = inner.services.executor.launch(spec, streams, &inner.cancel);
        let (launched, sandbox) = launched.await.map_err(not_run)?;
        *state = State::Started(sandbox);
        Ok(self.running(launched, counted))
    }

    fn step(&self, request: ProcessRequest) -> Result<ExecStep, BuildError> {
        let mut meta = request.meta;
        let has_term = meta.env.iter().any(|one| one.starts_with("TERM="));
        if request.streams == ProcessStreams::Terminal && !has_term {
            meta.env.push(TERM.to_owned());
        }
        self.0.request.step_of(pb::ExecOp {
            meta: Some(meta),
            security: request.security,
            secretenv: request.secret_env,
            ..pb::ExecOp::default()
        })
    }

    fn running(&self, launched: Launched, counted: Counted) -> ContainerProcess {
        ContainerProcess {
            control: launched.control,
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            exit: Box::pin(wait(launched.process, counted)),
        }
    }
}

impl Inner {
    /// Describes the first process, which uses up the mounts.
    fn spec(&self, step: &ExecStep, env: Vec<String>) -> Result<ProcessSpec, BuildError> {
        let unused = self.mounts().unused.take();
        let (root, mounts) = unused.ok_or_else(|| BuildError::new(OVER))?;
        process_spec(step, &self.services, env, root, mounts).map_err(BuildError::of_container)
    }
}

/// Counts a process as long as something is left of it.
struct Counted(Arc<Inner>);

impl Counted {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.running.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

async fn wait(process: Process, counted: Counted) -> Result<i32, BuildError> {
    let finished = process.wait().await.map_err(not_run)?;
    let code = exit_code(finished.status);
    // Nothing of its layers is kept; they may be large.
    let work = move |_: &CancelToken| {
        drop(finished);
        Ok::<_, BuildError>(())
    };
    let blocking = counted.0.services.blocking.clone();
    drop(blocking.run(&CancelToken::new(), work).await);
    Ok(code)
}

fn further(step: &ExecStep, env: Vec<String>) -> JoinSpec {
    JoinSpec {
        args: step.args.clone(),
        env,
        cwd: step.cwd.clone(),
        user: step.user.clone(),
        security: step.security,
        ulimits: step.ulimits.clone(),
    }
}

fn not_run(error: ExecError) -> BuildError {
    match error {
        ExecError::Cancelled(cancelled) => cancelled.into(),
        error => BuildError::new(error.to_string()),
    }
}
