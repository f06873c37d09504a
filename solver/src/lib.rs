//! The solver: which steps of a graph have to run, and running those.
//!
//! A build hands in a graph of [`Vertex`]es and asks for an [`Edge`], one output of one vertex. The
//! solver knows neither LLB nor files: what a vertex does is an [`Op`], what comes out is a `V`, and
//! what a build brings along (its session) is a `C`.
//!
//! ```text
//! cache map -> fast keys -> slow keys -> result
//! ```
//!
//! - The *cache map* is the op's own part of its key.
//! - *Fast keys* follow from the keys of the inputs by links in the [`CacheStore`]; nothing is run
//!   or read.
//! - *Slow keys* follow from the content of those inputs that the op reads by content; they have to
//!   be realised first.
//! - The *result* is loaded from a record of one of the keys, else the op runs.
//!
//! Each is done once per vertex, however many builds and dependants ask (`memo`); a vertex for which
//! nobody waits any more is cancelled (`life`); a vertex of another digest but equal key waits for
//! the one that runs (`flight`). How inputs are asked is told in `lookup`, what is written down in
//! `commit`, and what a watcher sees in `feed` and `stream`.
//!
//! Keys and results can come from elsewhere (`imports`) and go there (`export`), as a [`CacheGraph`](lamina_types::CacheGraph).
//!
//! No deadlock is possible: stages wait for stages of inputs only, and those form no cycle; a step
//! that follows another waits for one that waits for nothing but a slot; a slot is taken when the
//! inputs are there, and held only while the op runs.

mod backlog;
mod cache_graph;
mod cell;
mod commit;
mod error;
mod events;
mod export;
mod feed;
mod flight;
mod graph;
mod imports;
mod kept;
mod key;
mod life;
mod lookup;
mod memo;
mod op;
mod shared;
mod slots;
mod solver;
mod stages;
mod step;
mod store;
mod stream;

pub use backlog::Backlog;
pub use backlog::EventSender;
pub use cache_graph::GraphCache;
pub use cache_graph::GraphError;
pub use error::SolveError;
pub use error::StepError;
pub use events::Event;
pub use events::VertexEvent;
pub use export::CacheMode;
pub use graph::Edge;
pub use graph::ProgressGroup;
pub use graph::Vertex;
pub use imports::Import;
pub use key::KeyId;
pub use key::Link;
pub use op::CacheMap;
pub use op::InputKey;
pub use op::Op;
pub use op::OpContext;
pub use op::OpError;
pub use op::ResultStore;
pub use solver::Job;
pub use solver::Solver;
pub use solver::SolverOptions;
pub use step::StepHandle;
pub use store::CacheError;
pub use store::CacheStore;
pub use store::MemoryCache;
pub use store::Record;
pub use store::RedbCache;
pub use store::catch_damage;
