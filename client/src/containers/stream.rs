//! The stream that all processes of a gateway share (row EXE-08).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;

/// Messages that wait for the daemon, and for each process here: each may be large.
const QUEUED_MESSAGES: usize = 8;

/// What a process is told: the daemon's messages, then perhaps why there are no more.
pub(super) type Told = Result<Input, Status>;

type Processes = HashMap<String, mpsc::Sender<Told>>;

/// A stream to the daemon. Clones share it; it ends with the last.
#[derive(Clone, Debug)]
pub(crate) struct ExecStream {
    messages: mpsc::Sender<gateway::ExecMessage>,
    processes: Arc<Mutex<Option<Processes>>>,
}

impl ExecStream {
    /// Opens it; `wrap` adds what the calls of a build carry.
    pub(crate) fn open(
        mut bridge: LlbBridgeClient<Channel>,
        wrap: impl FnOnce(
            ReceiverStream<gateway::ExecMessage>,
        ) -> Request<ReceiverStream<gateway::ExecMessage>>,
    ) -> Self {
        let (messages, outgoing) = mpsc::channel(QUEUED_MESSAGES);
        let processes = Arc::new(Mutex::new(Some(Processes::new())));
        let request = wrap(ReceiverStream::new(outgoing));
        let told = Arc::clone(&processes);
        // Some daemons answer only when they have something to say.
        tokio::spawn(async move {
            let ended = match bridge.exec_process(request).await {
                Ok(answers) => hand_out(answers.into_inner(), &told).await,
                Err(status) => status,
            };
            let left = lock(&told).take().unwrap_or_default();
            for (_, process) in left {
                // Who waits for no more need not know.
                drop(process.send(Err(ended.clone())).await);
            }
        });
        Self {
            messages,
            processes,
        }
    }

    /// Says whether processes can be started on it.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.processes).is_some()
    }

    /// Adds a process; `None` if the stream has ended.
    pub(super) fn add(&self, id: &str) -> Option<mpsc::Receiver<Told>> {
        let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
        lock(&self.processes)
            .as_mut()?
            .insert(id.to_owned(), sender);
        Some(receiver)
    }

    /// Tells the daemon something about a process. What it can no longer be told is lost: its
    /// process has ended.
    pub(super) async fn tell(&self, id: &str, input: Input) {
        let message = gateway::ExecMessage {
            process_id: id.to_owned(),
            input: Some(input),
        };
        drop(self.messages.send(message).await);
    }
}

fn lock(processes: &Mutex<Option<Processes>>) -> MutexGuard<'_, Option<Processes>> {
    processes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives each process what is for it, until the stream ends; returns why it did.
async fn hand_out(
    mut answers: tonic::Streaming<gateway::ExecMessage>,
    processes: &Mutex<Option<Processes>>,
) -> Status {
    loop {
        let message = match answers.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Status::new(Code::Unavailable, "the stream of processes ended"),
            Err(status) => return status,
        };
        let Some(input) = message.input else { continue };
        let is_last = matches!(input, Input::Done(_));
        let process = {
            let mut processes = lock(processes);
            let known = processes.as_mut();
            known.and_then(|known| match is_last {
                true => known.remove(&message.process_id),
                false => known.get(&message.process_id).cloned(),
            })
        };
        if let Some(process) = process {
            // Who has dropped the process wants to know no more of it.
            drop(process.send(Ok(input)).await);
        }
    }
}
