//! ExecProcess: one stream for all processes of a caller (rows EXE-08 to EXE-22).
//!
//! ```text
//! messages ──► Stream ──► by process id ──► input, controls ──► Running ──► a process
//! answers  ◄───────── in the order of each process ◄───────────┘
//! ```
//! Each process has a task of its own, so none waits for another. Input is queued for a process
//! that starts or does not read, all together up to [`QUEUED_BYTES`]; then nothing more is read
//! from the caller. Output waits for the caller to read it, and the process for that.
//!
//! What is wrong with a message, or with the start of a process, ends the stream with an error, as
//! clients expect. When the stream ends so, or the caller goes away, its processes are killed.

mod output;
mod running;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use lamina_llb::BuildError;
use lamina_llb::signal_number;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Status;

use super::DrivenBuild;
use super::containers::coded;
use crate::status;
use output::Answers;
use running::Running;

/// Input that is held for processes, in bytes: enough to start many at once with their input.
const QUEUED_BYTES: u32 = 64 << 20;

/// What a message costs beside its data, so that empty ones are bounded too.
const OVERHEAD_BYTES: u32 = 256;

/// Answers that wait for the caller. Few: each may be large.
const QUEUED_ANSWERS: usize = 4;

/// Processes of one stream at a time.
const MAX_PROCESSES: usize = 1_000;

/// Longest process id; clients use a few dozen bytes.
const MAX_ID_BYTES: usize = 1_024;

/// What the stream answers.
pub(super) type ExecStream = ReceiverStream<Result<gateway::ExecMessage, Status>>;

/// Serves `messages` until they and all processes have ended.
pub(super) fn serve(
    build: Arc<DrivenBuild>,
    messages: impl Stream<Item = Result<gateway::ExecMessage, Status>> + Send + Unpin + 'static,
) -> ExecStream {
    let (answers, receiver) = mpsc::channel(QUEUED_ANSWERS);
    let answers = Answers::new(answers);
    let mut stream = ProcessTable::new(Arc::clone(&build), answers.clone());
    tokio::spawn(async move {
        let served = tokio::select! {
            served = stream.run(messages) => served,
            () = answers.abandoned() => Ok(()),
            () = build.containers.closed() => Err(BuildError::cancelled()),
        };
        if let Err(error) = served {
            answers.fail(status::to_status(&error)).await;
        }
        // Dropping the processes kills them.
    });
    ReceiverStream::new(receiver)
}

/// The processes of one stream.
struct ProcessTable {
    build: Arc<DrivenBuild>,
    answers: Answers,
    /// Also those that have ended: their ids are not used again.
    by_id: HashMap<String, Handle>,
    tasks: JoinSet<()>,
    room: Arc<Semaphore>,
}

/// The ways to a process. Nobody is at their other ends when it has ended.
struct Handle {
    fds: Vec<u32>,
    input: mpsc::UnboundedSender<Queued<InputPart>>,
    controls: mpsc::UnboundedSender<Queued<Control>>,
}

/// Something that waits for a process, with the room that it takes.
struct Queued<T>(T, OwnedSemaphorePermit);

/// A piece of standard input.
struct InputPart {
    data: Bytes,
    is_last: bool,
}

/// What is done to a process.
enum Control {
    Resize { rows: u16, columns: u16 },
    Signal(i32),
}

impl ProcessTable {
    fn new(build: Arc<DrivenBuild>, answers: Answers) -> Self {
        Self {
            build,
            answers,
            by_id: HashMap::new(),
            tasks: JoinSet::new(),
            room: Arc::new(Semaphore::new(QUEUED_BYTES as usize)),
        }
    }

    async fn run(
        &mut self,
        mut messages: impl Stream<Item = Result<gateway::ExecMessage, Status>> + Unpin,
    ) -> Result<(), BuildError> {
        while let Some(message) = messages.next().await {
            let Ok(message) = message else {
                // The caller has gone, or talks nonsense.
                return Err(BuildError::cancelled());
            };
            self.take(message).await?;
            while self.tasks.try_join_next().is_some() {}
        }
        // No more input comes, so that is what its readers are told.
        self.by_id.clear();
        while self.tasks.join_next().await.is_some() {}
        Ok(())
    }

    async fn take(&mut self, message: gateway::ExecMessage) -> Result<(), BuildError> {
        let id = message.process_id;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(coded(
                Code::InvalidArgument,
                "ProcessID required".to_owned(),
            ));
        }
        match message.input {
            Some(Input::Init(init)) => self.start(id, init),
            Some(Input::File(file)) => self.input(&id, file).await,
            Some(Input::Resize(size)) => {
                let cells = |count| u16::try_from(count).unwrap_or(u16::MAX);
                let (rows, columns) = (cells(size.rows), cells(size.cols));
                self.control(&id, Control::Resize { rows, columns }).await
            }
            Some(Input::Signal(signal)) => {
                // Who is meant is looked up first.
                self.handle(&id)?;
                let number = signal_number(&signal.name).ok_or_else(|| {
                    let text = format!("Unknown signal {}", signal.name);
                    coded(Code::InvalidArgument, text)
                })?;
                self.control(&id, Control::Signal(number)).await
            }
            // Others are for the other direction.
            Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => Ok(()),
        }
    }

    fn start(&mut self, id: String, init: gateway::InitMessage) -> Result<(), BuildError> {
        if self.by_id.contains_key(&id) {
            let text = format!("Process {id} already exists");
            return Err(coded(Code::AlreadyExists, text));
        }
        if self.tasks.len() >= MAX_PROCESSES {
            let text = format!("a stream has at most {MAX_PROCESSES} processes");
            return Err(coded(Code::ResourceExhausted, text));
        }
        let container = self.build.containers.get(&init.container_id);
        let container = container.ok_or_else(|| {
            let name = &init.container_id;
            let text = format!("container {name:?} previously released or not created");
            coded(Code::NotFound, text)
        })?;
        let (input, input_queue) = mpsc::unbounded_channel();
        let (controls, control_queue) = mpsc::unbounded_channel();
        let handle = Handle {
            fds: init.fds.clone(),
            input,
            controls,
        };
        self.by_id.insert(id.clone(), handle);
        let running = Running {
            answers: self.answers.of_process(id),
            input: input_queue,
            controls: control_queue,
        };
        self.tasks.spawn(running.run(container, init));
        Ok(())
    }

    fn handle(&self, id: &str) -> Result<&Handle, BuildError> {
        let missing = || coded(Code::NotFound, format!("IO for process {id:?} not found"));
        self.by_id.get(id).ok_or_else(missing)
    }

    async fn input(&self, id: &str, file: gateway::FdMessage) -> Result<(), BuildError> {
        let handle = self.handle(id)?;
        if file.fd != 0 || !handle.fds.contains(&0) {
            let text = format!("fd {} unavailable to write", file.fd);
            return Err(coded(Code::OutOfRange, text));
        }
        let bytes = u32::try_from(file.data.len()).unwrap_or(QUEUED_BYTES);
        let room = self.room(bytes).await?;
        let part = InputPart {
            data: file.data,
            is_last: file.eof,
        };
        // An error means that the process has ended (row EXE-10).
        drop(handle.input.send(Queued(part, room)));
        Ok(())
    }

    async fn control(&self, id: &str, control: Control) -> Result<(), BuildError> {
        let handle = self.handle(id)?;
        let room = self.room(0).await?;
        // An error means that the process has ended (rows EXE-17, EXE-18).
        drop(handle.controls.send(Queued(control, room)));
        Ok(())
    }

    /// Waits until there is room for so many bytes.
    async fn room(&self, bytes: u32) -> Result<OwnedSemaphorePermit, BuildError> {
        let wanted = bytes.saturating_add(OVERHEAD_BYTES).min(QUEUED_BYTES);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await;
        room.map_err(|_| BuildError::cancelled())
    }
}
