//! The services as clients and frontends use them, over sockets and pipes.
//!
//! Steps are run by this program itself in another role, and so is a frontend at the other end of
//! a pipe; so it has its own `main`. As with the usual harness, an argument is a filter on names.

mod bridge;
mod containers;
mod control;
mod daemon;
mod driven;
mod exporters;
mod gateway;
mod hostile;
mod listings;
mod outcome;
mod program;
mod services;
mod sources;
mod valid;
mod wire;

use containers::mounts;
use containers::processes;
use lamina_testkit::harness;

use harness::Test;

/// Makes a table of tests out of their paths.
macro_rules! tests {
    ($($module:ident::$name:ident,)*) => {
        &[$(Test::new(concat!(stringify!($module), "::", stringify!($name)), $module::$name),)*]
    };
}

const TESTS: &[Test] = tests![
    gateway::ping_lists_what_works,
    gateway::ping_tells_what_can_be_run_now,
    gateway::results_have_all_forms,
    gateway::reads_answer_as_recorded,
    listings::listings_are_remembered,
    gateway::failed_ops_can_be_looked_at,
    gateway::warnings_arrive,
    gateway::health_is_on_the_pipe,
    outcome::empty_results_are_scratch,
    outcome::the_first_result_counts,
    outcome::errors_win,
    outcome::final_solves_return,
    program::endings_are_judged,
    program::images_are_checked,
    program::syntax_lines_hand_over,
    sources::sources_are_looked_up,
    sources::what_is_missing_is_refused,
    services::health_and_info_do_not_wait,
    services::all_services_are_described,
    services::content_is_read_only,
    services::spans_are_refused,
    control::recorded_requests_fail_as_recorded,
    control::recorded_dockerfiles_fail_as_recorded,
    control::a_build_answers_and_is_remembered,
    driven::clients_drive_their_builds,
    driven::calls_may_come_before_the_build,
    driven::unknown_builds_are_not_found,
    driven::a_dropped_call_ends_the_build,
    exporters::clients_add_exporters_to_what_they_know,
    exporters::clients_may_have_no_exporters,
    exporters::only_those_who_want_it_are_asked,
    processes::messages_come_in_order,
    processes::what_makes_no_sense_ends_the_stream,
    processes::what_cannot_start_is_an_error,
    processes::many_processes_share_a_stream,
    processes::input_for_who_does_not_read_it_is_dropped,
    mounts::mounts_of_every_kind,
    mounts::privileges_must_be_granted,
    mounts::a_failed_step_can_be_entered,
    processes::processes_get_what_they_ask_for,
    mounts::files_are_read_as_they_are_now,
    mounts::releasing_kills_and_waits,
    mounts::all_end_with_the_build,
    hostile::odd_bytes_harm_nobody,
    hostile::odd_bytes_on_a_pipe_harm_nobody,
    hostile::panics_are_seen,
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("runtime") => lamina_executor::runtime_main(),
        Some(program::ROLE) => program::main(),
        _ => {}
    }
    lamina_executor::userns::enter().expect("namespaces for the engine");
    harness::run(TESTS);
}

/// Runs one test's future.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
