//! What watchers of a build see (rows CSTA-01 to CSTA-14).
//!
//! A build tells events; a [`Recorder`] limits the output of steps, gathers what happens within a
//! tenth of a second into messages, and appends them to a [`StatusLog`]. The log is a file, so that
//! any number of watchers read it from the beginning, each at its own pace, and none of it stays in
//! memory. When the build ends, the same file becomes the stored log of its history record.
//!
//! ```text
//! solver -> events -> Recorder -> StatusLog (4 bytes length, StatusResponse)* -> watchers
//!                        |                                                   \-> history
//!                        +-> the caller of Engine::build, event by event
//! ```

mod batch;
mod limit;
mod log;
mod recorder;
mod summary;
mod wire;

pub use limit::StepLogLimits;

pub(crate) use log::FinishedLog;
pub(crate) use log::StatusLog;
pub(crate) use recorder::Recorder;
pub(crate) use summary::Counts;
pub(crate) use wire::timestamp;
