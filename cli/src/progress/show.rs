//! The display at work, on a thread of its own: a screen may take nothing for as long as it likes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lamina_llb::BuildError;
use lamina_solver::Backlog;
use lamina_solver::Event;
use lamina_solver::EventSender;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Display;
use super::Holder;
use super::Mode;
use super::Patience;
use super::Silent;
use super::Steps;
use super::Teller;
use super::display;
use super::hold;
use super::hold::Hold;
use super::queue;
use super::queue::Told;
use super::report_failure;

/// How often the live picture is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// How long the end of a step that failed may take to come after its error.
const LATE: Duration = Duration::from_secs(1);

/// A display that ends after the last event.
#[must_use = "what was told is shown by the time that this is awaited"]
pub(crate) struct Shown(oneshot::Receiver<Steps>);

impl Shown {
    /// Waits until everything is shown; returns what it was.
    pub(crate) async fn steps(self) -> Steps {
        // A display that failed knows nothing.
        self.0.await.unwrap_or_default()
    }
}

/// Starts a display. The holder makes it leave the screen to others.
pub(crate) fn show(mode: Mode, patience: Patience) -> (Teller, Shown, Holder) {
    let (teller, told) = queue::queue(patience, None);
    let (shown, holder) = start(mode, told);
    (teller, shown, holder)
}

/// Starts a display of a build in this process, whose steps wait if they write faster than it shows, but
/// not for one that does not move.
pub(crate) fn watch(mode: Mode) -> (EventSender, Shown, Holder) {
    let backlog = Arc::new(Backlog::default());
    let (teller, told) = queue::queue(Patience::SHORT, Some(Arc::clone(&backlog)));
    let (shown, holder) = start(mode, told);
    let (sender, events) = mpsc::unbounded_channel();
    tokio::spawn(pass_on(events, teller));
    (EventSender::counted(sender, backlog), shown, holder)
}

/// Passes events on at once: merged, they take less.
async fn pass_on(mut events: UnboundedReceiver<Event>, teller: Teller) {
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => teller.put(event),
                None => return,
            },
            () = teller.room(), if teller.is_full() => {}
        }
    }
}

fn start(mode: Mode, told: Told) -> (Shown, Holder) {
    let (holder, holds) = hold::channel();
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        let shown = display(mode);
        let screen = Screen {
            shown,
            steps: Steps::default(),
            told,
        };
        // Who started it may have gone.
        drop(end.send(runtime.block_on(screen.run(holds))));
    };
    let thread = thread::Builder::new().name("lamina-display".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "progress is not shown");
    }
    (Shown(ended), holder)
}

/// A display and what it has shown.
struct Screen {
    shown: Box<dyn Display>,
    steps: Steps,
    told: Told,
}

impl Screen {
    async fn run(mut self, mut holds: UnboundedReceiver<Hold>) -> Steps {
        let mut clock = tokio::time::interval(REDRAW);
        loop {
            tokio::select! {
                event = self.told.next() => match event {
                    Some(event) => self.show(&event),
                    None => break,
                },
                Some(hold) = holds.recv() => self.be_held(hold).await,
                _ = clock.tick() => self.shown.tick(&self.steps),
            }
        }
        self.shown.finish(&self.steps);
        self.steps
    }

    fn show(&mut self, event: &Event) {
        if let Some(change) = self.steps.apply(event) {
            self.shown.change(&mut self.steps, &change, event);
        }
    }

    /// Leaves the screen to others until they are done with it.
    async fn be_held(&mut self, hold: Hold) {
        self.catch_up(hold.error.as_ref()).await;
        self.shown.finish(&self.steps);
        // What is on the screen afterwards is not to be drawn over.
        self.shown = Box::new(Silent);
        if let Some(error) = &hold.error {
            crate::report::text(&report_failure(error, &self.steps));
        }
        // Who has gone wants it no more.
        hold.still.send(()).unwrap_or_default();
        self.take_note(hold.ended).await;
    }

    /// Shows what was told so far, and of a step that failed all up to its end, which may come after the
    /// error.
    async fn catch_up(&mut self, error: Option<&BuildError>) {
        let failed = error.and_then(|error| error.vertex);
        let late = Instant::now() + LATE;
        loop {
            while let Some(event) = self.told.try_next() {
                self.show(&event);
            }
            let step = failed.and_then(|failed| self.steps.find(&failed));
            if failed.is_none() || step.is_some_and(|step| step.completed.is_some()) {
                return;
            }
            match tokio::time::timeout_at(late, self.told.next()).await {
                Ok(Some(event)) => self.show(&event),
                _ => return,
            }
        }
    }

    /// Takes note of events without showing them, until the screen is free again.
    async fn take_note(&mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                event = self.told.next() => match event {
                    Some(event) => drop(self.steps.apply(&event)),
                    // The caller notices that there are no more.
                    None => return drop(ended.await),
                },
                // Never sent, so this is the drop.
                _ = &mut ended => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lamina_solver::VertexEvent;
    use lamina_types::Digest;
    use lamina_types::LogStream;

    use super::*;

    fn state(completed: Option<SystemTime>) -> Event {
        Event::Vertex(VertexEvent {
            digest: Digest::of(b"a"),
            inputs: Vec::new(),
            name: "a".to_owned(),
            cached: false,
            started: Some(SystemTime::UNIX_EPOCH),
            completed,
            error: None,
            progress_group: None,
        })
    }

    /// The report of a step that failed has its last lines although they come after its error.
    #[tokio::test(start_paused = true)]
    async fn a_hold_waits_for_the_end_of_the_step_that_failed() {
        let (teller, told) = queue::queue(Patience::SHORT, None);
        let mut screen = Screen {
            shown: Box::new(Silent),
            steps: Steps::default(),
            told,
        };
        teller.put(state(None));
        let error = BuildError {
            vertex: Some(Digest::of(b"a")),
            ..BuildError::default()
        };
        let late = async {
            tokio::task::yield_now().await;
            teller.put(Event::Log {
                vertex: Digest::of(b"a"),
                stream: LogStream::Stdout,
                data: b"the last line\n".to_vec(),
                time: SystemTime::UNIX_EPOCH,
            });
            tokio::task::yield_now().await;
            teller.put(state(Some(SystemTime::UNIX_EPOCH)));
        };
        let begun = Instant::now();
        tokio::join!(screen.catch_up(Some(&error)), late);
        assert!(begun.elapsed() < LATE);
        let report = report_failure(&error, &screen.steps);
        assert!(report.contains("the last line"), "{report}");
    }
}
