//! Builds: what is asked for, running it, and finding it while it runs.

mod export;
mod late;
mod live;
mod request;
mod run;
mod running;
mod watch;

pub use late::ReferenceNames;
pub use request::BuildOutcome;
pub use request::BuildRequest;
pub use request::BuildSource;
pub use request::ExportRequest;
pub use watch::NoSuchBuild;

pub(crate) use export::ExportResponses;
pub(crate) use live::LiveBuilds;
pub(crate) use running::RunningBuilds;

use live::REGISTRATION_WAIT;
