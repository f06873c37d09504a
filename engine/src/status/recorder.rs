//! From events to a log.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use lamina_solver::Backlog;
use lamina_solver::Event;
use lamina_solver::EventSender;
use lamina_solver::VertexEvent;
use lamina_types::Digest;
use lamina_types::LogStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Counts;
use super::StatusLog;
use super::StepLogLimits;
use super::batch::Batch;
use super::limit::LimitedStream;
use super::log::FinishedLog;
use super::log::LogWriter;
use super::summary::Summary;
use super::wire;

/// Changes within this time share a message; the first after a pause is never held back.
const GATHER: Duration = Duration::from_millis(100);

/// Events that are taken before looking at the clock again.
const AT_ONCE: usize = 1_000;

const STREAMS: [LogStream; 2] = [LogStream::Stdout, LogStream::Stderr];

/// Writes down what one build tells.
pub(crate) struct Recorder {
    events: UnboundedReceiver<Event>,
    /// Gets every event at once.
    watcher: EventSender,
    limits: StepLogLimits,
    writer: LogWriter,
    batch: Batch,
    summary: Summary,
    streams: HashMap<(Digest, bool), LimitedStream>,
    last_message: Option<Instant>,
    /// Told of what is taken.
    backlog: Arc<Backlog>,
}

impl Recorder {
    /// Makes a recorder that writes to `path`, and the log for its readers.
    pub(crate) fn new(
        path: &Path,
        limits: StepLogLimits,
        events: UnboundedReceiver<Event>,
        watcher: EventSender,
    ) -> (Self, StatusLog) {
        let (log, writer) = StatusLog::create(path);
        let recorder = Self {
            events,
            watcher,
            limits,
            writer,
            batch: Batch::default(),
            summary: Summary::default(),
            streams: HashMap::new(),
            last_message: None,
            backlog: Arc::default(),
        };
        (recorder, log)
    }

    /// Notes in `backlog` what is taken of logs.
    pub(crate) fn counting(self, backlog: Arc<Backlog>) -> Self {
        Self { backlog, ..self }
    }

    /// Records until `end` resolves and everything that was told before is written; then closes the
    /// log. Returns the whole log, if there is any, and what the build's steps came to.
    pub(crate) async fn run(mut self, end: oneshot::Receiver<()>) -> (Option<FinishedLog>, Counts) {
        let mut end = std::pin::pin!(end);
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                () = wait_until(due) => self.flush(),
                event = self.events.recv() => match event {
                    Some(event) => self.take_with_others(event),
                    None => break,
                },
                _ = &mut end => break,
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        for event in self.summary.close() {
            self.pass_vertex(event);
        }
        self.flush();
        (self.writer.finish(), self.summary.counts())
    }

    /// Returns when what was gathered has to go out; `None` if there is nothing.
    fn due(&self) -> Option<Instant> {
        if self.batch.is_empty() {
            return None;
        }
        Some(
            self.last_message
                .map_or_else(Instant::now, |last| last + GATHER),
        )
    }

    fn flush(&mut self) {
        self.writer.append(&self.batch.take());
        self.last_message = Some(Instant::now());
    }

    /// Takes an event and those that wait behind it: they share its message.
    fn take_with_others(&mut self, event: Event) {
        self.take(event);
        for _ in 0..AT_ONCE {
            match self.events.try_recv() {
                Ok(event) => self.take(event),
                Err(_) => break,
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Vertex(event) => self.take_vertex(event),
            Event::Status { vertex, status } => {
                self.batch.status(wire::status(vertex, &status));
                self.pass(Event::Status { vertex, status });
            }
            Event::Log {
                vertex,
                stream,
                data,
                time,
            } => self.take_log(vertex, stream, data, time),
            Event::Warning { vertex, warning } => {
                self.summary.warning();
                self.batch.warning(wire::warning(vertex, &warning));
                self.pass(Event::Warning { vertex, warning });
            }
        }
        if self.batch.is_full() {
            self.flush();
        }
    }

    fn take_vertex(&mut self, event: VertexEvent) {
        let ended = event.completed.is_some();
        let restarted = event.started != self.summary.started(&event.digest);
        for stream in STREAMS {
            if ended && event.error.is_some() {
                self.show_tail(event.digest, stream);
            }
            if ended || restarted {
                self.streams.remove(&key(event.digest, stream));
            }
        }
        self.summary.vertex(&event);
        self.pass_vertex(event);
    }

    /// Shows the end of what a failed step wrote, if it was left out.
    fn show_tail(&mut self, vertex: Digest, stream: LogStream) {
        let tail = self.streams.get_mut(&key(vertex, stream));
        if let Some(tail) = tail.and_then(LimitedStream::take_tail) {
            self.pass_log(vertex, stream, tail, SystemTime::now());
        }
    }

    fn take_log(&mut self, vertex: Digest, stream: LogStream, data: Vec<u8>, time: SystemTime) {
        self.backlog.take(data.len());
        let since = self.summary.started(&vertex).unwrap_or(time);
        let limits = self.limits;
        let limited = self
            .streams
            .entry(key(vertex, stream))
            .or_insert_with(|| LimitedStream::new(limits, since));
        let data = limited.pass(data, time);
        if !data.is_empty() {
            self.pass_log(vertex, stream, data, time);
        }
    }

    fn pass_log(&mut self, vertex: Digest, stream: LogStream, data: Vec<u8>, time: SystemTime) {
        self.batch
            .log(wire::log(vertex, stream, data.clone(), time));
        self.pass(Event::Log {
            vertex,
            stream,
            data,
            time,
        });
    }

    fn pass_vertex(&mut self, event: VertexEvent) {
        self.batch.vertex(wire::vertex(&event));
        self.pass(Event::Vertex(event));
    }

    /// A watcher that went away is no error.
    fn pass(&self, event: Event) {
        self.watcher.send(event);
    }
}

fn key(vertex: Digest, stream: LogStream) -> (Digest, bool) {
    (vertex, stream == LogStream::Stderr)
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
