//! The engine as a whole, from requests to exported trees.
//!
//! Steps are run by this program itself in another role, so it has its own `main`: told so by its
//! first argument it is the executor's child, else it runs the tests one after the other. As with
//! the usual harness, an argument is a filter on their names.

mod bridge;
mod cache;
mod engine;
mod fixture;
mod goldens;
mod harness;
mod ops;
mod state;
mod tar_tree;

use harness::Test;

const TESTS: &[Test] = &[
    Test::new("state::one_owner_at_a_time", state::one_owner_at_a_time),
    Test::new(
        "state::damage_and_foreign_formats",
        state::damage_and_foreign_formats,
    ),
    Test::new(
        "engine::bad_requests_are_refused",
        engine::bad_requests_are_refused,
    ),
    Test::new("engine::exports_are_steps", engine::exports_are_steps),
    Test::new(
        "engine::killed_engines_leave_nothing",
        engine::killed_engines_leave_nothing,
    ),
    Test::new(
        "bridge::reads_follow_the_wire",
        bridge::reads_follow_the_wire,
    ),
    Test::new(
        "bridge::definitions_in_files_are_solved",
        bridge::definitions_in_files_are_solved,
    ),
    Test::new("bridge::panics_are_errors", bridge::panics_are_errors),
    Test::new("ops::goldens", ops::goldens),
    Test::new("cache::goldens", cache::goldens),
];

fn main() {
    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some("runtime") => lamina_executor::runtime_main(),
        Some(engine::VICTIM) => engine::victim(),
        _ => {}
    }
    lamina_executor::userns::enter().expect("namespaces for the engine");
    harness::run(TESTS);
}
