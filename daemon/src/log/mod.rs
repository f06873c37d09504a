//! The daemon's log on standard error (rows FLG-05, CFG-02), in the two forms that BuildKit has:
//!
//! ```text
//! time="2026-01-02T03:04:05Z" level=info msg="running server on /run/buildkit/buildkitd.sock"
//! {"level":"info","msg":"running server on ..","time":"2026-01-02T03:04:05Z"}
//! ```

mod format;

use std::io;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::SettingsError;

/// The values of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, SettingsError> {
        match text {
            None | Some("" | "text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(SettingsError::LogFormat(other.to_owned())),
        }
    }
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// A level by name counts before the old switches.
    pub(crate) fn parse(
        name: Option<&str>,
        debug: bool,
        trace: bool,
    ) -> Result<Self, SettingsError> {
        let name = name.map(str::to_ascii_lowercase);
        match name.as_deref() {
            None | Some("") if trace => Ok(Self::Trace),
            None | Some("") if debug => Ok(Self::Debug),
            None | Some("" | "info") => Ok(Self::Info),
            Some("panic" | "fatal" | "error") => Ok(Self::Error),
            Some("warn" | "warning") => Ok(Self::Warn),
            Some("debug") => Ok(Self::Debug),
            Some("trace") => Ok(Self::Trace),
            Some(other) => Err(SettingsError::LogLevel(other.to_owned())),
        }
    }

    fn filter(self) -> Targets {
        let level = match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
            // What the libraries do matters only to who looks for the last detail.
            Self::Trace => return Targets::new().with_default(LevelFilter::TRACE),
        };
        Targets::new()
            .with_default(level.min(Level::WARN))
            .with_target("lamina", level)
    }
}

/// Starts logging; a second call changes nothing.
pub(crate) fn init(format: LogFormat, level: LogLevel) {
    let lines = tracing_subscriber::fmt::layer()
        .event_format(format::Lines(format))
        .with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    // Only a test that starts two daemons in one process calls it twice.
    drop(registry.with(level.filter()).with(lines).try_init());
}
