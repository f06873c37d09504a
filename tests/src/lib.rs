//! Tests across crates: the structure of the workspace, and the built command with real clients.
//!
//! The tests are in `it/`, one binary; this library is empty.
