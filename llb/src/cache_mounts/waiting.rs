//! Telling that a step waits for a directory that another step has locked (row EXC-23).

use std::time::SystemTime;

use lamina_types::Progress;
use lamina_types::StepStatus;

/// One wait, shown from the moment when it turns out to be one until this is dropped.
pub(super) struct Waiting<'a> {
    progress: &'a Progress,
    id: &'a str,
    since: Option<SystemTime>,
}

impl<'a> Waiting<'a> {
    /// Gets ready for a wait for the cache `id`; shows nothing yet.
    pub(super) fn new(id: &'a str, progress: &'a Progress) -> Self {
        Self {
            progress,
            id,
            since: None,
        }
    }

    /// Shows it, unless it is shown already.
    pub(super) fn show(&mut self) {
        if self.since.is_none() {
            self.since = Some(SystemTime::now());
            self.tell(None);
        }
    }

    fn tell(&self, completed: Option<SystemTime>) {
        let name = format!(
            "waiting for cache mount {}, which another step uses",
            self.id
        );
        self.progress.status(StepStatus {
            id: name.clone(),
            name,
            current: 0,
            total: 0,
            started: self.since,
            completed,
        });
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.tell(Some(SystemTime::now()));
        }
    }
}
