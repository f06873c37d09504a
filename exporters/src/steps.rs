//! Telling what an export does.

use std::time::SystemTime;

use lamina_types::Progress;
use lamina_types::StepStatus;

/// One action of an export, shown until it is dropped.
#[must_use]
pub(crate) struct Step {
    progress: Progress,
    status: StepStatus,
}

impl Step {
    /// Shows that `name` began.
    pub(crate) fn start(progress: &Progress, name: impl Into<String>) -> Self {
        let name = name.into();
        let step = Self {
            progress: progress.clone(),
            status: StepStatus {
                id: name.clone(),
                name,
                current: 0,
                total: 0,
                started: Some(SystemTime::now()),
                completed: None,
            },
        };
        step.progress.status(step.status.clone());
        step
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.status.completed = Some(SystemTime::now());
        self.progress.status(self.status.clone());
    }
}
