//! Behaviour of the frontend, seen through its bridge.

#![expect(clippy::print_stdout, reason = "the report of the recorded cases")]

mod answers;
mod bounds;
mod bridge;
mod cases;
mod contexts;
mod definitions;
mod epochs;
mod figures;
mod goldens;
mod near_misses;
mod random;
mod rules;
mod stand_in;
