//! Notices an input that is read for too long.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// What an input may take; the longest take some milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// The input that is read now, and since when.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Option<(Instant, String)>>>);

impl Watch {
    /// Starts to watch; ends the process, after it printed the input, once one takes too long.
    pub(crate) fn start() -> Self {
        let watch = Self::default();
        let watched = watch.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LIMIT / 10);
                watched.check();
            }
        });
        watch
    }

    /// Notes the input that is read from now on.
    pub(crate) fn reading(&self, text: &str) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, input) = now.get_or_insert_with(|| (Instant::now(), String::new()));
        *since = Instant::now();
        input.clear();
        input.push_str(text);
    }

    fn check(&self) {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, text)) = &*now else { return };
        if since.elapsed() > LIMIT {
            // Nobody can be told if standard error is closed.
            drop(writeln!(
                std::io::stderr(),
                "takes more than {LIMIT:?}: {text:?}"
            ));
            std::process::exit(1);
        }
    }
}
