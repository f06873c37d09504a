//! Unpacking and packing for a user with a single id: the same layers, with owners and kinds in
//! attributes.

use lamina_testkit::namespace;
use lamina_testkit::namespace::Ids;

use crate::support::report;

const TESTS: [&str; 4] = ["archives::", "goldens::", "hostile::", "layers::"];

#[test]
fn results_are_the_same_with_a_single_id() {
    if namespace::inside().is_some() {
        return;
    }
    match namespace::run_again(Ids::One, &TESTS) {
        Ok(errors) => assert!(!errors.contains("needs root"), "{errors}"),
        Err(reason) => report(&format!(
            "results_are_the_same_with_a_single_id skipped: {reason}"
        )),
    }
}
