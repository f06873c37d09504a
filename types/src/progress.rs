//! What running work tells whoever watches.

use std::sync::Arc;
use std::time::SystemTime;

/// Which of a process's streams a piece of log came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the field's own words")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// The state of one action inside a step, such as the download of one layer (row CSTA-09).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepStatus {
    /// Identifies the action within its step; a later status with the same id replaces an earlier.
    pub id: String,
    /// What is done, as shown: "extracting sha256:..".
    pub name: String,
    /// How far it is, in bytes or items.
    pub current: u64,
    /// Where it ends; 0 if unknown.
    pub total: u64,
    /// When the action began.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub completed: Option<SystemTime>,
}

/// Receives what one step tells. Calls must not block.
pub trait ProgressSink: Send + Sync {
    /// Takes a piece of a process's output, raw and not cut into lines (row CSTA-10).
    fn log(&self, stream: LogStream, data: &[u8]);
    /// Takes the new state of an action.
    fn status(&self, status: StepStatus);
    /// Takes a warning for the user.
    fn warn(&self, message: &str);
    /// Says whether so much was told and not taken yet that whoever tells had better wait, if it can.
    fn is_behind(&self) -> bool {
        false
    }
}

/// A shared handle on a [`ProgressSink`]; the default one drops everything.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn ProgressSink>>);

impl Progress {
    /// Wraps a sink.
    pub fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self(Some(sink))
    }

    /// Passes on a piece of a process's output.
    pub fn log(&self, stream: LogStream, data: &[u8]) {
        if let Some(sink) = &self.0 {
            sink.log(stream, data);
        }
    }

    /// Passes on the state of an action.
    pub fn status(&self, status: StepStatus) {
        if let Some(sink) = &self.0 {
            sink.status(status);
        }
    }

    /// Says whether so much was told and not taken yet that whoever tells had better wait, if it can.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.is_behind())
    }

    /// Passes on a warning.
    pub fn warn(&self, message: &str) {
        if let Some(sink) = &self.0 {
            sink.warn(message);
        }
    }
}
