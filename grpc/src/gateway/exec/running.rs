//! One process, from its start to its last message.

use futures_util::future::BoxFuture;
use lamina_llb::BuildError;
use lamina_llb::Container;
use lamina_llb::ContainerProcess;
use lamina_llb::ProcessControl;
use lamina_llb::ProcessInput;
use lamina_llb::ProcessRequest;
use lamina_llb::ProcessStreams;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use lamina_types::CancelToken;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Control;
use super::InputPart;
use super::Queued;
use super::output::Abandoned;
use super::output::ProcessAnswers;
use crate::status;

/// The code of a process whose end is not known (row EXE-14).
const UNKNOWN: u32 = 255;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// A process to be started, and what waits for it.
pub(super) struct Running {
    pub(super) answers: ProcessAnswers,
    pub(super) input: UnboundedReceiver<Queued<InputPart>>,
    pub(super) controls: UnboundedReceiver<Queued<Control>>,
}

impl Running {
    /// Starts the process and stays with it. Dropping this kills it.
    pub(super) async fn run(self, container: Container, init: gateway::InitMessage) {
        let fds = init.fds.clone();
        match container.start(request(init)).await {
            // Nobody reads any more: then the process is killed.
            Ok(process) => drop(self.attend(process, &fds).await),
            Err(error) => self.answers.fail(&error).await,
        }
    }

    async fn attend(self, process: ContainerProcess, fds: &[u32]) -> Result<(), Abandoned> {
        let Self {
            answers,
            input,
            controls,
        } = self;
        let started = gateway::StartedMessage {};
        answers.tell(Input::Started(started)).await?;
        let ended = CancelToken::new();
        let declared = |fd| fds.contains(&fd).then_some(fd);
        let exit = async {
            let told = tell_exit(&answers, process.exit).await;
            ended.cancel();
            told
        };
        let (exit, out, err, (), ()) = tokio::join!(
            exit,
            answers.pass_on(process.stdout, declared(STDOUT)),
            answers.pass_on(process.stderr, declared(STDERR)),
            until(&ended, feed(process.stdin, input)),
            until(&ended, obey(&process.control, controls)),
        );
        exit.and(out).and(err)?;
        // Descriptors that no process of ours has are closed, too.
        for fd in fds.iter().copied().filter(|fd| *fd > STDERR) {
            answers.pass_on(None, Some(fd)).await?;
        }
        answers.tell(Input::Done(gateway::DoneMessage {})).await
    }
}

/// Reads the request (rows EXE-09, EXE-10).
fn request(init: gateway::InitMessage) -> ProcessRequest {
    let streams = match init.tty {
        true => ProcessStreams::Terminal,
        false => ProcessStreams::Pipes {
            stdin: init.fds.contains(&STDIN),
            stdout: init.fds.contains(&STDOUT),
            stderr: init.fds.contains(&STDERR),
        },
    };
    ProcessRequest {
        meta: init.meta.unwrap_or_default(),
        security: init.security,
        secret_env: init.secretenv,
        streams,
    }
}

/// Waits for the end and tells how it was (row EXE-14).
async fn tell_exit(
    answers: &ProcessAnswers,
    exit: BoxFuture<'static, Result<i32, BuildError>>,
) -> Result<(), Abandoned> {
    let exit = match exit.await {
        Ok(0) => gateway::ExitMessage::default(),
        Ok(code) => {
            let error = BuildError {
                exit_code: Some(code),
                ..BuildError::new(format!("exit code: {code}"))
            };
            gateway::ExitMessage {
                code: u32::try_from(code).unwrap_or(UNKNOWN),
                error: Some(status::to_rpc(&error)),
            }
        }
        Err(error) => gateway::ExitMessage {
            code: UNKNOWN,
            error: Some(status::to_rpc(&error)),
        },
    };
    answers.tell(Input::Exit(exit)).await
}

/// Does `work` until the process has ended.
async fn until(ended: &CancelToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = ended.cancelled() => {}
    }
}

/// Writes what arrives until its last part, or until the process reads no more: the rest is dropped
/// (row EXE-10).
async fn feed(mut stdin: Option<ProcessInput>, mut input: UnboundedReceiver<Queued<InputPart>>) {
    while let Some(Queued(part, _room)) = input.recv().await {
        if let Some(open) = &mut stdin
            && open.write_all(&part.data).await.is_err()
        {
            stdin = None;
        }
        if part.is_last {
            stdin = None;
        }
    }
}

async fn obey(control: &ProcessControl, mut controls: UnboundedReceiver<Queued<Control>>) {
    while let Some(Queued(wanted, _room)) = controls.recv().await {
        let done = match wanted {
            Control::Resize { rows, columns } => control.resize(rows, columns),
            Control::Signal(number) => control.signal(number),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a process was not told something");
        }
    }
}
