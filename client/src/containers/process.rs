//! One process of a container.

use bytes::Bytes;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use lamina_session::fresh_id;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::Status;

use super::ExecStream;
use super::stream::Told;
use crate::ClientError;
use crate::Failure;

/// A process that runs.
#[derive(Debug)]
pub struct ContainerProcess {
    input: ProcessInput,
    told: mpsc::Receiver<Told>,
    is_done: bool,
}

/// The way to a process. Clones share it. What comes after its end is lost.
#[derive(Clone, Debug)]
pub struct ProcessInput {
    id: String,
    stream: ExecStream,
}

/// What a process does.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// It wrote something.
    Output {
        /// The descriptor: 1 or 2; 1 for a terminal.
        fd: u32,
        /// What.
        data: Bytes,
    },
    /// It, and all others that could, have closed a descriptor.
    Closed {
        /// Which.
        fd: u32,
    },
    /// It has ended; output may follow.
    Exited(Exit),
}

/// How a process ended (row GCL-11).
#[derive(Clone, Debug)]
pub struct Exit {
    /// Its code; 255 with a failure that has no code = unknown.
    pub code: u32,
    /// Why, unless it succeeded.
    pub failure: Option<Failure>,
}

/// Data of one message: larger pieces are sent in parts, so that others get their turn.
const PART_BYTES: usize = 512 << 10;

impl ContainerProcess {
    /// Asks for a process.
    pub(super) async fn open(
        stream: ExecStream,
        init: gateway::InitMessage,
    ) -> Result<Self, ClientError> {
        let id = fresh_id();
        let told = stream.add(&id).ok_or_else(|| explained(&ended()))?;
        stream.tell(&id, Input::Init(init)).await;
        Ok(Self {
            input: ProcessInput { id, stream },
            told,
            is_done: false,
        })
    }

    /// Waits until it runs.
    pub(super) async fn started(&mut self) -> Result<(), ClientError> {
        loop {
            match self.told.recv().await.unwrap_or_else(|| Err(ended())) {
                Ok(Input::Started(_)) => return Ok(()),
                Ok(_) => {}
                Err(status) => return Err(explained(&status)),
            }
        }
    }

    /// Returns the way to it.
    #[must_use]
    pub fn input(&self) -> ProcessInput {
        self.input.clone()
    }

    /// Returns what it does next; `None` when there is no more.
    ///
    /// # Errors
    /// If the stream ended first.
    pub async fn next(&mut self) -> Result<Option<ProcessEvent>, ClientError> {
        while !self.is_done {
            match self.told.recv().await.unwrap_or_else(|| Err(ended())) {
                Ok(Input::Done(_)) => self.is_done = true,
                Ok(input) => {
                    if let Some(event) = event(input) {
                        return Ok(Some(event));
                    }
                }
                Err(status) => return Err(explained(&status)),
            }
        }
        Ok(None)
    }

    /// Waits for its end; what it still writes is lost (row GCL-11).
    ///
    /// # Errors
    /// If the stream ended first.
    pub async fn wait(mut self) -> Result<Exit, ClientError> {
        let mut exit = None;
        while let Some(event) = self.next().await? {
            if let ProcessEvent::Exited(how) = event {
                exit = Some(how);
            }
        }
        exit.ok_or(ClientError::Malformed("a process without an end"))
    }
}

impl ProcessInput {
    /// Writes to standard input. Waits if the process does not read.
    pub async fn write(&self, mut data: Bytes) {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(PART_BYTES));
            self.file(part, false).await;
        }
    }

    /// Closes standard input.
    pub async fn close(&self) {
        self.file(Bytes::new(), true).await;
    }

    /// Tells a terminal its size.
    pub async fn resize(&self, rows: u32, cols: u32) {
        let size = gateway::ResizeMessage { rows, cols };
        self.stream.tell(&self.id, Input::Resize(size)).await;
    }

    /// Sends a signal by its name without prefix, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let name = name.to_owned();
        let signal = gateway::SignalMessage { name };
        self.stream.tell(&self.id, Input::Signal(signal)).await;
    }

    async fn file(&self, data: Bytes, eof: bool) {
        let file = gateway::FdMessage { fd: 0, eof, data };
        self.stream.tell(&self.id, Input::File(file)).await;
    }
}

fn event(input: Input) -> Option<ProcessEvent> {
    match input {
        Input::File(file) if file.eof => Some(ProcessEvent::Closed { fd: file.fd }),
        Input::File(file) => Some(ProcessEvent::Output {
            fd: file.fd,
            data: file.data,
        }),
        Input::Exit(exit) => Some(ProcessEvent::Exited(Exit {
            code: exit.code,
            failure: exit.error.as_ref().map(Failure::from),
        })),
        _ => None,
    }
}

fn ended() -> Status {
    Status::new(Code::Unavailable, "the stream of processes ended")
}

/// The stream is part of a connection that is there, so its errors are the daemon's.
fn explained(status: &Status) -> ClientError {
    ClientError::Daemon(Box::new(Failure::from_status(status)))
}
