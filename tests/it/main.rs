//! One binary for all tests across crates.

#![expect(
    clippy::print_stdout,
    reason = "scores, seeds and reasons of skipped tests are for the log"
)]

mod advisories;
mod architecture;
mod attacks;
mod bad_inputs;
mod daemon;
mod debian;
mod dockerfiles;
mod harness;
mod interrupts;
mod leftovers;
mod main_job;
mod registry;
mod repositories;
mod scratch;
mod waiting;
