//! The gRPC services: Control, LLBBridge, Content, TraceService, Health and reflection.
//!
//! Nothing is decided here. Messages become calls of the [`Engine`](lamina_engine::Engine) and of a
//! build's [`Bridge`](lamina_llb::Bridge), and their answers become messages; only [`status`]
//! chooses codes and attaches typed details (rows NET-10 to NET-15).
//!
//! ```text
//! socket -> routes() -> control  -> Engine
//!                       gateway  -> builds by id -> Bridge of a client's build
//!                       content  -> Engine (read only)
//! pipe   -> PipeServer -> gateway -> Bridge of a frontend's build
//! ```
//! A listener may be served before the engine is open: calls that need it wait at an
//! [`EngineSlot`], the others (Info, Health, Session, reflection) answer at once.

mod content;
mod control;
mod gateway;
mod routes;
mod slot;
pub mod status;
mod trace;

pub use gateway::PipeServer;
pub use routes::ServerOptions;
pub use routes::routes;
pub use slot::EngineSlot;

/// Largest message in either direction (row NET-04).
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
