//! Builds without an engine: definitions, frontends and references over one store.
//!
//! Steps are run by this program itself in another role, so it has its own `main`: told so by its
//! first argument it is the executor's child, or a program of a step, else it runs the tests one
//! after the other. As with the usual harness, an argument is a filter on their names.

mod errors;
mod forwarding;
mod frontends;
mod graph;
mod leftovers;
mod lookups;
mod policies;
mod programs;
mod reads;
mod steps;
mod wire;
mod world;

use lamina_testkit::harness;

use harness::Test;

const TESTS: &[Test] = &[
    Test::new("errors::rows_of_the_wire", errors::rows_of_the_wire),
    Test::new("errors::words_of_the_goldens", errors::words_of_the_goldens),
    Test::new(
        "errors::of_names_without_a_tree",
        errors::of_names_without_a_tree,
    ),
    Test::new(
        "forwarding::steps_reach_the_client",
        forwarding::steps_reach_the_client,
    ),
    Test::new("forwarding::missing_agents", forwarding::missing_agents),
    Test::new(
        "forwarding::another_client_helps",
        forwarding::another_client_helps,
    ),
    Test::new("frontends::nested_calls", frontends::nested_calls),
    Test::new("frontends::endless_calls_end", frontends::endless_calls_end),
    Test::new(
        "frontends::errors_name_the_frontend",
        frontends::errors_name_the_frontend,
    ),
    Test::new(
        "frontends::warnings_are_events",
        frontends::warnings_are_events,
    ),
    Test::new("leftovers::of_a_process", leftovers::of_a_process),
    Test::new("leftovers::of_file_actions", leftovers::of_file_actions),
    Test::new("leftovers::of_required_paths", leftovers::of_required_paths),
    Test::new("leftovers::of_a_checksum", leftovers::of_a_checksum),
    Test::new(
        "lookups::of_what_no_build_can_use_are_refused",
        lookups::of_what_no_build_can_use_are_refused,
    ),
    Test::new("lookups::show_no_credentials", lookups::show_no_credentials),
    Test::new(
        "policies::decide_before_anything_runs",
        policies::decide_before_anything_runs,
    ),
    Test::new("programs::talk_and_fail", programs::talk_and_fail),
    Test::new("programs::end_when_dropped", programs::end_when_dropped),
    Test::new("reads::rows_of_the_wire", reads::rows_of_the_wire),
    Test::new("reads::rates", reads::rates),
    Test::new(
        "steps::mounts::are_what_the_op_says",
        steps::are_what_the_op_says,
    ),
    Test::new(
        "steps::mounts::that_cannot_be_are_refused",
        steps::that_cannot_be_are_refused,
    ),
    Test::new(
        "steps::caches::outlive_builds_and_stay_out_of_results",
        steps::outlive_builds_and_stay_out_of_results,
    ),
    Test::new(
        "steps::caches::are_shared_private_or_locked",
        steps::are_shared_private_or_locked,
    ),
    Test::new(
        "steps::caches::are_waited_for_in_sight",
        steps::are_waited_for_in_sight,
    ),
    Test::new(
        "steps::caches::begin_as_their_seed",
        steps::begin_as_their_seed,
    ),
    Test::new(
        "steps::clients::secrets_are_files_and_variables",
        steps::secrets_are_files_and_variables,
    ),
    Test::new(
        "steps::devices::are_given_by_name",
        steps::are_given_by_name,
    ),
    Test::new("steps::limits::ends_are_judged", steps::ends_are_judged),
    Test::new(
        "steps::limits::keys_leave_out_what_does_not_count",
        steps::keys_leave_out_what_does_not_count,
    ),
    Test::new(
        "steps::limits::resources_are_metadata",
        steps::resources_are_metadata,
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["runtime", ..] => lamina_executor::runtime_main(),
        ["ask", socket, question] => return forwarding::ask(socket, question),
        _ => {}
    }
    lamina_executor::userns::enter().expect("namespaces for steps");
    harness::run(TESTS);
}
