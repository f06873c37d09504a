//! Events of steps that are no vertices of a graph: exports, metadata look-ups.

use std::sync::Arc;
use std::time::SystemTime;

use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::ProgressSink;
use lamina_types::StepStatus;
use lamina_types::Warning;

use crate::events::Event;
use crate::events::VertexEvent;
use crate::stream::Stream;

/// A step that has started. [`StepHandle::finish`] completes it; dropping it shows it as cancelled.
#[must_use = "a dropped step is shown as cancelled"]
pub struct StepHandle {
    stream: Arc<Stream>,
    event: VertexEvent,
    progress: Progress,
}

impl StepHandle {
    pub(crate) fn start(stream: Arc<Stream>, digest: Digest, name: &str) -> Self {
        let announcement = VertexEvent {
            digest,
            inputs: Vec::new(),
            name: name.to_owned(),
            cached: false,
            started: None,
            completed: None,
            error: None,
            progress_group: None,
        };
        stream.announce(announcement.clone());
        let event = VertexEvent {
            started: Some(SystemTime::now()),
            ..announcement
        };
        stream.send(Event::Vertex(event.clone()));
        let sink = StepSink {
            stream: Arc::clone(&stream),
            digest,
        };
        Self {
            stream,
            event,
            progress: Progress::new(Arc::new(sink)),
        }
    }

    /// Returns where the step tells its logs and actions.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Completes the step, with the text of an error if it failed.
    pub fn finish(mut self, error: Option<String>) {
        self.complete(error);
    }

    fn complete(&mut self, error: Option<String>) {
        if self.event.completed.is_none() {
            self.event.completed = Some(SystemTime::now());
            self.event.error = error;
            self.stream.send(Event::Vertex(self.event.clone()));
        }
    }
}

impl Drop for StepHandle {
    fn drop(&mut self) {
        self.complete(Some(Cancelled.to_string()));
    }
}

impl std::fmt::Debug for StepHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StepHandle").field(&self.event.name).finish()
    }
}

struct StepSink {
    stream: Arc<Stream>,
    digest: Digest,
}

impl ProgressSink for StepSink {
    fn log(&self, stream: LogStream, data: &[u8]) {
        self.stream.send(Event::Log {
            vertex: self.digest,
            stream,
            data: data.to_vec(),
            time: SystemTime::now(),
        });
    }

    fn status(&self, status: StepStatus) {
        self.stream.send(Event::Status {
            vertex: self.digest,
            status,
        });
    }

    fn warn(&self, message: &str) {
        self.stream.send(Event::Warning {
            vertex: self.digest,
            warning: Warning::of(message),
        });
    }

    fn is_behind(&self) -> bool {
        self.stream.is_behind()
    }
}
