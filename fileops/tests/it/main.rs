//! File operations: behaviour, and BuildKit's own results as the oracle.

mod archives;
mod backends;
mod context;
mod copier;
mod copies;
mod devices;
mod errors;
mod escape;
mod exports;
mod goldens;
mod machine;
mod matches;
mod memory;
mod model;
mod namespaces;
mod odd;
mod ops;
mod owners;
mod reflink;
mod refused_links;
mod rows;
mod sharing;
mod simple;
mod table;
mod volume;
