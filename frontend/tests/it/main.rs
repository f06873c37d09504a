//! Behaviour of the frontend, seen through its bridge.

#![expect(clippy::print_stdout, reason = "the report of the recorded cases")]

mod bridge;
mod cases;
mod definitions;
mod goldens;
mod random;
mod stand_in;
