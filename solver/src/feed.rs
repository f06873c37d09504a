//! What happened to one vertex, and the builds that are told.
//!
//! A build that joins late is told everything from the beginning, then what happens live, without
//! a gap or a repeat (CSTA-03): joining and telling exclude each other.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::SystemTime;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::ProgressSink;
use lamina_types::StepStatus;
use lamina_types::Warning;

use crate::events::Event;
use crate::events::VertexEvent;
use crate::graph::ProgressGroup;
use crate::graph::Vertex;
use crate::kept::Kept;
use crate::kept::Times;
use crate::kept::Told;
use crate::slots::BuildNumber;
use crate::stream::Stream;

/// How a build shows a vertex. Builds that share a vertex may call it by different names.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) name: String,
    pub(crate) progress_group: Option<ProgressGroup>,
}

/// A build, as far as vertices know it.
pub(crate) struct Build<C> {
    pub(crate) number: BuildNumber,
    pub(crate) context: Arc<C>,
    pub(crate) stream: Arc<Stream>,
}

/// The events of one vertex.
pub(crate) struct Feed<C> {
    digest: Digest,
    inputs: Vec<Digest>,
    state: Mutex<FeedState<C>>,
}

struct FeedState<C> {
    builds: Vec<(Weak<Build<C>>, Face)>,
    history: Kept,
    /// Changes with every build that joins.
    joined: u64,
    /// The activity that is shown as running.
    running: Option<(Mark, SystemTime)>,
    /// The last activity failed, and nothing has begun since.
    failed: bool,
    marks: u64,
    /// The vertex that works for this one.
    leader: Option<(Arc<Feed<C>>, Face)>,
}

/// Names one activity of a vertex, so that a late end of an old one does not end a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl<C> Feed<C> {
    pub(crate) fn new<V>(vertex: &Vertex<V, C>) -> Self {
        Self {
            digest: vertex.digest,
            inputs: vertex.inputs.iter().map(|e| e.vertex.digest).collect(),
            state: Mutex::new(FeedState {
                builds: Vec::new(),
                history: Kept::default(),
                joined: 0,
                running: None,
                failed: false,
                marks: 0,
                leader: None,
            }),
        }
    }

    /// Tells `build` everything so far, and what comes. A failure is no part of that: a build that
    /// comes later tries again. Joining twice changes nothing.
    pub(crate) fn join(&self, build: &Arc<Build<C>>, face: Face) {
        let mut state = self.state();
        state.builds.retain(|(known, _)| known.strong_count() > 0);
        if state
            .builds
            .iter()
            .any(|(known, _)| known.as_ptr() == Arc::as_ptr(build))
        {
            return;
        }
        if std::mem::take(&mut state.failed) {
            state.history.forget();
        }
        build.stream.announce(self.announcement(&face));
        for told in state.history.events() {
            build.stream.send(self.event(told.clone(), &face));
        }
        state.builds.push((Arc::downgrade(build), face));
        state.joined += 1;
        let leader = state.leader.clone();
        drop(state);
        if let Some((leader, face)) = leader {
            leader.join(build, face);
        }
    }

    /// Lets the builds of this vertex watch `other`, which works for both; they see it as `face`.
    pub(crate) fn follow(&self, other: &Arc<Self>, face: &Face) {
        self.state().leader = Some((Arc::clone(other), face.clone()));
        for build in self.members() {
            other.join(&build, face.clone());
        }
    }

    /// Ends following.
    pub(crate) fn lead(&self) {
        self.state().leader = None;
    }

    /// Returns the builds that have joined and not ended.
    pub(crate) fn members(&self) -> Vec<Arc<Build<C>>> {
        let state = self.state();
        state
            .builds
            .iter()
            .filter_map(|(build, _)| build.upgrade())
            .collect()
    }

    /// Returns a number that changes when a build joins.
    pub(crate) fn joined(&self) -> u64 {
        self.state().joined
    }

    /// Shows that an activity begins.
    pub(crate) fn start(&self, cached: bool) -> Mark {
        let started = SystemTime::now();
        let mut state = self.state();
        state.marks += 1;
        let mark = Mark(state.marks);
        state.running = Some((mark, started));
        state.failed = false;
        self.tell(&mut state, times(cached, started, None, None));
        mark
    }

    /// Shows that it ended, unless another has begun or it was cancelled.
    pub(crate) fn complete(&self, mark: Mark, cached: bool, error: Option<String>) {
        let mut state = self.state();
        if let Some((_, started)) = state.running.take_if(|(running, _)| *running == mark) {
            let completed = Some(SystemTime::now());
            state.failed = error.is_some();
            self.tell(&mut state, times(cached, started, completed, error));
        }
    }

    /// Shows that what runs, if anything does, was cancelled. Who joins later sees nothing of it: the
    /// work starts anew.
    pub(crate) fn cancel(&self) {
        let mut state = self.state();
        if let Some((_, started)) = state.running.take() {
            let completed = Some(SystemTime::now());
            let error = Some(lamina_types::Cancelled.to_string());
            self.tell(&mut state, times(false, started, completed, error));
            state.history.forget();
        }
    }

    /// Shows the vertex as done without any work.
    pub(crate) fn complete_cached(&self) {
        let now = SystemTime::now();
        self.tell(&mut self.state(), times(true, now, Some(now), None));
    }

    /// Shows that work failed in something that has no start of its own.
    pub(crate) fn fail(&self, error: String) {
        let mark = self.start(false);
        self.complete(mark, false, Some(error));
    }

    fn announcement(&self, face: &Face) -> VertexEvent {
        VertexEvent {
            digest: self.digest,
            inputs: self.inputs.clone(),
            name: face.name.clone(),
            cached: false,
            started: None,
            completed: None,
            error: None,
            progress_group: face.progress_group.clone(),
        }
    }

    fn event(&self, told: Told, face: &Face) -> Event {
        let vertex = self.digest;
        match told {
            Told::Times(times) => Event::Vertex(VertexEvent {
                cached: times.cached,
                started: Some(times.started),
                completed: times.completed,
                error: times.error,
                ..self.announcement(face)
            }),
            Told::Status(status) => Event::Status { vertex, status },
            Told::Log(stream, data, time) => Event::Log {
                vertex,
                stream,
                data,
                time,
            },
            Told::Warning(warning) => Event::Warning { vertex, warning },
        }
    }

    fn tell(&self, state: &mut FeedState<C>, told: Told) {
        for (build, face) in &state.builds {
            if let Some(build) = build.upgrade() {
                build.stream.send(self.event(told.clone(), face));
            }
        }
        state.history.keep(told);
    }

    fn state(&self) -> MutexGuard<'_, FeedState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn times(
    cached: bool,
    started: SystemTime,
    completed: Option<SystemTime>,
    error: Option<String>,
) -> Told {
    Told::Times(Times {
        cached,
        started,
        completed,
        error,
    })
}

/// Passes what an op tells to all builds, until it is cancelled.
pub(crate) struct FeedSink<C> {
    pub(crate) feed: Arc<Feed<C>>,
    pub(crate) cancel: CancelToken,
}

impl<C> FeedSink<C> {
    fn tell(&self, told: Told) {
        let mut state = self.feed.state();
        if !self.cancel.is_cancelled() {
            self.feed.tell(&mut state, told);
        }
    }
}

impl<C: Send + Sync> ProgressSink for FeedSink<C> {
    fn log(&self, stream: LogStream, data: &[u8]) {
        self.tell(Told::Log(stream, data.to_vec(), SystemTime::now()));
    }

    fn status(&self, status: StepStatus) {
        self.tell(Told::Status(status));
    }

    fn warn(&self, message: &str) {
        self.tell(Told::Warning(Warning::of(message)));
    }

    fn is_behind(&self) -> bool {
        let builds = self.feed.members();
        builds.iter().any(|build| build.stream.is_behind())
    }
}
