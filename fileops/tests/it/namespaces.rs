//! File operations for users who are not root of the machine: the same results, and the same exports.
//!
//! With a single id owners and kinds are in attributes. With subordinate ids they are real, but for
//! devices, which such a user cannot have.

use lamina_testkit::namespace;
use lamina_testkit::namespace::Ids;

use crate::machine::skip;

const WITH_ONE_ID: [&str; 7] = [
    "exports::",
    "goldens::",
    "model::",
    "odd::",
    "owners::",
    "simple::",
    "table::",
];

/// Those that make no devices, or go without them.
const WITH_ALL_IDS: [&str; 6] = [
    "archives::",
    "copies::",
    "errors::",
    "goldens::",
    "owners::",
    "simple::",
];

fn run_again(ids: Ids, tests: &[&str]) {
    if namespace::inside().is_some() {
        return;
    }
    match namespace::run_again(ids, tests) {
        Ok(errors) => assert!(!errors.contains("skipped:"), "{errors}"),
        Err(reason) => skip(&reason).unwrap_or_default(),
    }
}

#[test]
fn results_are_the_same_with_a_single_id() {
    run_again(Ids::One, &WITH_ONE_ID);
}

#[test]
fn results_are_the_same_with_subordinate_ids() {
    run_again(Ids::All, &WITH_ALL_IDS);
}
