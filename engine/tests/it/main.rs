//! The engine as a whole, from requests to exported trees.
//!
//! Steps are run by this program itself in another role, so it has its own `main`: told so by its
//! first argument it is the executor's child, else it runs the tests one after the other. As with
//! the usual harness, an argument is a filter on their names.

mod bridge;
mod cache;
mod damage;
mod engine;
mod figures;
mod fixture;
mod full_disk;
mod goldens;
mod history;
mod many;
mod mounts;
mod old_format;
mod ops;
mod state;
mod status;
mod tar_tree;
mod usage;
mod worker;

use lamina_testkit::harness;

use harness::Test;

const TESTS: &[Test] = &[
    Test::new("state::one_owner_at_a_time", state::one_owner_at_a_time),
    Test::new(
        "state::damage_and_foreign_formats",
        state::damage_and_foreign_formats,
    ),
    Test::new(
        "state::the_folders_are_private",
        state::the_folders_are_private,
    ),
    Test::new(
        "state::opening_reads_the_database_once",
        state::opening_reads_the_database_once,
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
    Test::new(
        "status::watchers_see_all_of_a_build",
        status::watchers_see_all_of_a_build,
    ),
    Test::new(
        "status::ids_are_unique_and_dropped_builds_stop",
        status::ids_are_unique_and_dropped_builds_stop,
    ),
    Test::new(
        "status::internal_builds_leave_nothing",
        status::internal_builds_leave_nothing,
    ),
    Test::new("history::records_tell_all", history::records_tell_all),
    Test::new(
        "history::errors_lose_credentials",
        history::errors_lose_credentials,
    ),
    Test::new(
        "history::events_come_in_order",
        history::events_come_in_order,
    ),
    Test::new(
        "history::only_the_newest_stay",
        history::only_the_newest_stay,
    ),
    Test::new(
        "history::held_records_go_later",
        history::held_records_go_later,
    ),
    Test::new("usage::layers_are_described", usage::layers_are_described),
    Test::new(
        "usage::pruning_goes_from_the_top",
        usage::pruning_goes_from_the_top,
    ),
    Test::new(
        "usage::running_builds_keep_theirs",
        usage::running_builds_keep_theirs,
    ),
    Test::new("usage::limits_are_kept", usage::limits_are_kept),
    Test::new(
        "usage::repositories_are_told_and_go",
        usage::repositories_are_told_and_go,
    ),
    Test::new(
        "usage::builds_are_collected_after",
        usage::builds_are_collected_after,
    ),
    Test::new(
        "many::all_records_are_collected",
        many::all_records_are_collected,
    ),
    Test::new(
        "old_format::version_1_is_read",
        old_format::version_1_is_read,
    ),
    Test::new(
        "damage::layers_are_known_without_the_database",
        damage::layers_are_known_without_the_database,
    ),
    Test::new(
        "damage::a_damaged_database_costs_no_more_than_the_cache",
        damage::a_damaged_database_costs_no_more_than_the_cache,
    ),
    Test::new(
        "damage::damaged_layers_are_made_again",
        damage::damaged_layers_are_made_again,
    ),
    Test::new(
        "damage::layers_are_checked_on_demand",
        damage::layers_are_checked_on_demand,
    ),
    Test::new(
        "full_disk::steps_make_room_and_say_if_there_is_none",
        full_disk::steps_make_room_and_say_if_there_is_none,
    ),
    Test::new(
        "full_disk::processes_get_a_second_chance",
        full_disk::processes_get_a_second_chance,
    ),
    Test::new(
        "full_disk::engines_recover_when_others_leave_the_disk",
        full_disk::engines_recover_when_others_leave_the_disk,
    ),
    Test::new("worker::filters_choose", worker::filters_choose),
    Test::new(
        "mounts::slower_ones_are_announced",
        mounts::slower_ones_are_announced,
    ),
    Test::new("ops::goldens", ops::goldens),
    Test::new("ops::further_goldens", ops::further_goldens),
    Test::new("cache::goldens", cache::goldens),
];

/// Measurements, which are no tests: `scripts/bench store` asks for them by the name of the module.
const FIGURES: &[Test] = &[
    Test::new("figures::opening", figures::opening),
    Test::new("figures::collecting", figures::collecting),
];

fn main() {
    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some("runtime") => lamina_executor::runtime_main(),
        Some(engine::VICTIM) => engine::victim(),
        Some(old_format::MAKE) => old_format::make(),
        _ => {}
    }
    lamina_executor::userns::enter().expect("namespaces for the engine");
    match first.as_deref() {
        Some("figures") => harness::run(FIGURES),
        _ => harness::run(TESTS),
    }
}
