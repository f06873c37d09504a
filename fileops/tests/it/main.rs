//! File operations: behaviour, and BuildKit's own results as the oracle.

mod backends;
mod copies;
mod goldens;
mod machine;
mod model;
mod ops;
mod refused_links;
mod rows;
mod simple;
mod single_id;
mod speed;
