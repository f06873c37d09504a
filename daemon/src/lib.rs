//! The daemon: flags, configuration, listeners, start and stop.
//!
//! It is started as BuildKit's daemon is, so that one program can replace the other: the same flags
//! ([`DaemonArgs`]), the same `buildkitd.toml`, the same places for the socket. What they ask for
//! and Lamina does not have is accepted with one warning in the log; what nobody knows is an error
//! if it is a flag and a warning if it is a key of the file (rows FLG-01 to FLG-16, CFG-01 to
//! CFG-15).
//!
//! ```text
//! flags      ─┐
//! file       ─┼─► Settings ──► listeners ──► services ──► engine (opens while calls queue) ──► READY
//! places     ─┘                                  │
//!                                      SIGTERM ──┴─► STOPPING: no new calls, builds end, exit
//! ```
#![deny(unsafe_code)]

mod config;
mod engine;
mod error;
mod flags;
mod frontends;
mod holder;
mod listen;
mod log;
mod notify;
pub mod places;
mod run;
mod server;
mod settings;
mod signals;
#[expect(unsafe_code, reason = "system calls that no safe wrapper offers")]
mod sys;
mod version;

pub use config::parse_duration;
pub use flags::DaemonArgs;
pub use frontends::frontends;
pub use holder::waiting_for;
pub use listen::is_served;
pub use run::run;
pub use version::version;
pub use version::version_line;
