//! What the caller is told, in order.

use bytes::Bytes;
use lamina_llb::BuildError;
use lamina_llb::ProcessOutput;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use tokio::sync::mpsc;
use tonic::Status;

use crate::status;

/// The caller's end of the stream. Clones share it.
#[derive(Clone)]
pub(super) struct Answers(mpsc::Sender<Result<gateway::ExecMessage, Status>>);

impl Answers {
    pub(super) fn new(sender: mpsc::Sender<Result<gateway::ExecMessage, Status>>) -> Self {
        Self(sender)
    }

    /// Waits until nobody reads any more.
    pub(super) async fn abandoned(&self) {
        self.0.closed().await;
    }

    /// Ends the stream with an error.
    pub(super) async fn fail(&self, status: Status) {
        // If nobody reads any more, nobody needs to know.
        drop(self.0.send(Err(status)).await);
    }

    pub(super) fn of_process(&self, id: String) -> ProcessAnswers {
        ProcessAnswers {
            answers: self.clone(),
            id,
        }
    }
}

/// The same for one process.
#[derive(Clone)]
pub(super) struct ProcessAnswers {
    answers: Answers,
    id: String,
}

/// Nobody reads the stream any more.
#[derive(Debug)]
pub(super) struct Abandoned;

/// Bytes that are first read at once, and at most. What is read at once is doubled as long as there
/// is as much.
const FIRST_CHUNK_BYTES: usize = 16 << 10;
const MAX_CHUNK_BYTES: usize = 512 << 10;

impl ProcessAnswers {
    /// Tells something of the process.
    pub(super) async fn tell(&self, input: Input) -> Result<(), Abandoned> {
        let message = gateway::ExecMessage {
            process_id: self.id.clone(),
            input: Some(input),
        };
        let sent = self.answers.0.send(Ok(message)).await;
        sent.map_err(|_| Abandoned)
    }

    /// Ends the whole stream with why this process could not be started (row EXE-20).
    pub(super) async fn fail(&self, error: &BuildError) {
        self.answers.fail(status::to_status(error)).await;
    }

    /// Passes on what the process writes to `fd`, then its end (row EXE-13). Without a descriptor
    /// the output is read and dropped.
    pub(super) async fn pass_on(
        &self,
        output: Option<ProcessOutput>,
        fd: Option<u32>,
    ) -> Result<(), Abandoned> {
        if let Some(output) = output {
            self.follow(output, fd).await?;
        }
        let Some(fd) = fd else { return Ok(()) };
        let file = gateway::FdMessage {
            fd,
            eof: true,
            data: Bytes::new(),
        };
        self.tell(Input::File(file)).await
    }

    async fn follow(&self, mut output: ProcessOutput, fd: Option<u32>) -> Result<(), Abandoned> {
        let mut chunk = FIRST_CHUNK_BYTES;
        loop {
            let mut data = Vec::with_capacity(chunk);
            match output.read(&mut data).await {
                Ok(0) => return Ok(()),
                Ok(length) if length == chunk => chunk = (chunk * 2).min(MAX_CHUNK_BYTES),
                Ok(_) => chunk = FIRST_CHUNK_BYTES.max(chunk / 2),
                Err(error) => {
                    tracing::debug!(%error, "the output of a process broke");
                    return Ok(());
                }
            }
            if let Some(fd) = fd {
                let file = gateway::FdMessage {
                    fd,
                    eof: false,
                    data: Bytes::from(data),
                };
                self.tell(Input::File(file)).await?;
            }
        }
    }
}
