//! Progress as lines, for pipes and logs: `#3 0.12 output of step 3`.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;
use std::time::SystemTime;

use lamina_solver::Event;
use lamina_types::StepStatus;

use super::Display;
use super::amount;
use super::model::Change;
use super::model::LogLine;
use super::model::Step;
use super::model::Steps;

/// An action that is over within this time is told of once, when it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// At most one line per action in this time, besides its last.
const STATUS_PAUSE: Duration = Duration::from_secs(5);

/// What takes less has taken 0.0 seconds.
const NO_TIME: Duration = Duration::from_millis(50);

pub(super) struct Plain<W> {
    out: W,
    /// The step whose lines were printed last; a change of step prints an empty line between.
    current: Option<usize>,
    /// How the end of each step was printed; an event that repeats it prints nothing.
    ends: HashMap<usize, String>,
    /// When each action's state was last printed.
    printed: HashMap<(usize, String), SystemTime>,
}

impl<W: Write + Send> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            current: None,
            ends: HashMap::new(),
            printed: HashMap::new(),
        }
    }

    fn line(&mut self, step: &Step, text: &str) {
        if self.current != Some(step.number) {
            if self.current.is_some() {
                self.write("\n");
            }
            self.current = Some(step.number);
            self.write(&format!("#{} {}\n", step.number, step.name));
        }
        if !text.is_empty() {
            self.write(&format!("#{} {text}\n", step.number));
        }
    }

    /// Writes; a reader that went away does not stop the build.
    fn write(&mut self, text: &str) {
        drop(self.out.write_all(text.as_bytes()));
    }

    fn state(&mut self, step: &Step, rest: Option<LogLine>) {
        if let Some(line) = rest {
            self.log_line(step, &line);
        }
        if step.started.is_none() && step.completed.is_none() {
            return;
        }
        let text = match (&step.error, step.completed) {
            (_, None) => String::new(),
            (Some(error), _) if error == "context canceled" => "CANCELED".to_owned(),
            (Some(error), _) => format!("ERROR: {error}"),
            (None, Some(_)) if step.cached => "CACHED".to_owned(),
            (None, Some(now)) => format!("DONE {:.1}s", step.elapsed(now).as_secs_f64()),
        };
        if self
            .ends
            .get(&step.number)
            .is_some_and(|told| *told == text || says_nothing(step))
        {
            return;
        }
        self.line(step, &text);
        if !text.is_empty() {
            self.ends.insert(step.number, text);
        }
    }

    fn log_line(&mut self, step: &Step, line: &LogLine) {
        let at = step
            .started
            .and_then(|start| line.time.duration_since(start).ok());
        let seconds = at.unwrap_or_default().as_secs_f64();
        self.line(step, &format!("{seconds:.3} {}", line.text));
    }

    fn status(&mut self, step: &Step, status: &StepStatus) {
        let now = SystemTime::now();
        let key = (step.number, status.id.clone());
        let (since, pause) = match self.printed.get(&key) {
            Some(&last) => (last, STATUS_PAUSE),
            None => (status.started.unwrap_or(now), STATUS_PATIENCE),
        };
        let is_early = now.duration_since(since).unwrap_or_default() < pause;
        if is_early && status.completed.is_none() {
            return;
        }
        self.printed.insert(key, now);
        self.line(step, &status_text(status, now));
    }
}

/// Says whether the state of a step that had ended before is no news: that it runs again, that it is
/// in the cache by now, or that going over it once more took no time.
fn says_nothing(step: &Step) -> bool {
    let took_no_time = |now| step.elapsed(now) < NO_TIME;
    step.error.is_none() && (step.cached || step.completed.is_none_or(took_no_time))
}

fn status_text(status: &StepStatus, now: SystemTime) -> String {
    let mut text = status.name.clone();
    let amount = amount(status.current, status.total);
    if !amount.is_empty() {
        text.push(' ');
        text.push_str(&amount);
    }
    let elapsed = status
        .started
        .and_then(|start| status.completed.unwrap_or(now).duration_since(start).ok())
        .unwrap_or_default();
    if elapsed >= NO_TIME {
        text.push_str(&format!(" {:.1}s", elapsed.as_secs_f64()));
    }
    if status.completed.is_some() {
        text.push_str(" done");
    }
    text
}

impl<W: Write + Send> Display for Plain<W> {
    fn change(&mut self, steps: &mut Steps, change: &Change, _event: &Event) {
        match change {
            Change::State(index) => {
                let ended = steps.all()[*index].completed;
                let rest = ended.and_then(|now| steps.flush_log(*index, now));
                self.state(&steps.all()[*index], rest);
            }
            Change::Log(index, lines) => {
                for line in lines {
                    self.log_line(&steps.all()[*index], line);
                }
            }
            Change::Status(index, status) => self.status(&steps.all()[*index], status),
            Change::Warning(message) => self.write(&format!("WARNING: {message}\n")),
        }
    }

    /// Tells of actions that take long and have nothing new to tell.
    fn tick(&mut self, steps: &Steps) {
        for step in steps.all().iter().filter(|step| step.is_running()) {
            for status in &step.statuses {
                let is_told = self.printed.contains_key(&(step.number, status.id.clone()));
                if status.completed.is_none() && !is_told {
                    self.status(step, status);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lamina_solver::VertexEvent;
    use lamina_types::Digest;
    use lamina_types::LogStream;

    use super::*;

    fn vertex(name: &str, started: Option<u64>, completed: Option<u64>) -> VertexEvent {
        let time = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        VertexEvent {
            digest: Digest::of(name.as_bytes()),
            inputs: Vec::new(),
            name: name.to_owned(),
            cached: false,
            started: started.map(time),
            completed: completed.map(time),
            error: None,
            progress_group: None,
        }
    }

    fn rendered(events: &[Event]) -> String {
        let mut steps = Steps::default();
        let mut plain = Plain::new(Vec::new());
        for event in events {
            if let Some(change) = steps.apply(event) {
                plain.change(&mut steps, &change, event);
            }
        }
        String::from_utf8(plain.out).expect("text")
    }

    #[test]
    fn steps_logs_and_ends() {
        let log = Event::Log {
            vertex: Digest::of(b"a"),
            stream: LogStream::Stdout,
            data: b"one\ntwo".to_vec(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        };
        let cached = VertexEvent {
            cached: true,
            ..vertex("b", Some(1000), Some(1000))
        };
        let failed = VertexEvent {
            error: Some("no".to_owned()),
            ..vertex("c", Some(1000), Some(1000))
        };
        let text = rendered(&[
            Event::Vertex(vertex("a", None, None)),
            Event::Vertex(vertex("a", Some(1000), None)),
            log,
            Event::Vertex(vertex("a", Some(1000), Some(3000))),
            Event::Vertex(vertex("a", Some(1000), Some(3000))),
            Event::Vertex(cached),
            Event::Vertex(failed),
        ]);
        let expected = "#1 a\n#1 0.500 one\n#1 2.000 two\n#1 DONE 2.0s\n\n\
                        #2 b\n#2 CACHED\n\n#3 c\n#3 ERROR: no\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_step_that_is_gone_over_again_is_told_once() {
        let again = |started, completed| Event::Vertex(vertex("a", Some(started), Some(completed)));
        let text = rendered(&[
            again(1000, 1200),
            Event::Vertex(vertex("b", Some(1200), Some(1200))),
            Event::Vertex(vertex("a", Some(1300), None)),
            again(1300, 1310),
            again(2000, 5000),
        ]);
        let expected = "#1 a\n#1 DONE 0.2s\n\n#2 b\n#2 DONE 0.0s\n\n#1 a\n#1 DONE 3.0s\n";
        assert_eq!(text, expected);
    }

    /// An action of the step "a" that began so many seconds ago.
    fn action(name: &str, age: u64, is_done: bool) -> Event {
        let now = SystemTime::now();
        Event::Status {
            vertex: Digest::of(b"a"),
            status: StepStatus {
                id: name.to_owned(),
                name: name.to_owned(),
                current: 0,
                total: 0,
                started: Some(now - Duration::from_secs(age)),
                completed: is_done.then_some(now),
            },
        }
    }

    #[test]
    fn actions_are_told_when_they_end_or_take_long() {
        let events = [
            Event::Vertex(vertex("a", Some(1000), None)),
            action("short", 0, false),
            action("short", 0, true),
            action("long", 60, false),
            action("long", 60, false),
            action("new", 0, false),
        ];
        assert_eq!(rendered(&events), "#1 a\n#1 short done\n#1 long 60.0s\n");
    }

    #[test]
    fn silent_actions_are_told_after_a_while() {
        let mut steps = Steps::default();
        let mut plain = Plain::new(Vec::new());
        steps.apply(&Event::Vertex(vertex("a", Some(1000), None)));
        steps.apply(&action("silent", 60, false));
        plain.tick(&steps);
        plain.tick(&steps);
        let text = String::from_utf8(plain.out).expect("text");
        assert_eq!(text, "#1 a\n#1 silent 60.0s\n");
    }
}
