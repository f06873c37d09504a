//! Telling how far an action is (row CSTA-09).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use lamina_types::Progress;
use lamina_types::StepStatus;

/// Bytes between two reports.
const REPORT_BYTES: u64 = 4 << 20;

/// One action of a step: shown as running from its start until [`finish`](Self::finish).
pub(crate) struct Action {
    progress: Progress,
    status: StepStatus,
    current: AtomicU64,
}

impl Action {
    pub(crate) fn start(progress: &Progress, id: String, name: &str, total: u64) -> Self {
        let status = StepStatus {
            name: name.to_owned(),
            id,
            current: 0,
            total,
            started: Some(SystemTime::now()),
            completed: None,
        };
        progress.status(status.clone());
        Self {
            progress: progress.clone(),
            status,
            current: AtomicU64::new(0),
        }
    }

    /// Counts further bytes.
    pub(crate) fn add(&self, bytes: u64) {
        let before = self.current.fetch_add(bytes, Ordering::Relaxed);
        self.report(before, before + bytes);
    }

    /// Sets the bytes so far.
    pub(crate) fn set(&self, current: u64) {
        let before = self.current.swap(current, Ordering::Relaxed);
        self.report(before, current);
    }

    fn report(&self, before: u64, current: u64) {
        if before / REPORT_BYTES != current / REPORT_BYTES {
            self.progress.status(StepStatus {
                current,
                ..self.status.clone()
            });
        }
    }

    /// Shows the action as done.
    pub(crate) fn finish(self) {
        self.done();
    }

    /// As [`finish`](Self::finish), for an action that several hold.
    pub(crate) fn done(&self) {
        self.progress.status(StepStatus {
            current: self.current.load(Ordering::Relaxed),
            completed: Some(SystemTime::now()),
            ..self.status.clone()
        });
    }
}
