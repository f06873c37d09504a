//! Results of File ops as a table: kinds of source, kinds of place, flags, and what comes of each.
//!
//! The rows are data in `tests/table`. Every row starts from the same two trees, `source.txt` and
//! `destination.txt` ([`world`] has their form), and is two lines:
//!
//! ```text
//! file-to-dir+p: copy /f /dir p
//!     => /dir/f=/f
//! ```
//!
//! The first line has the row's name and what is done ([`action`]), the second what becomes of the
//! destination ([`outcome`]). Errors of copies begin with `copy source to destination: `, which rows
//! leave out. The second lines were derived from the rules of rows FIL-02 to FIL-24,
//! not from this program; docs/differences.md says where BuildKit's results are others. As root and
//! with a single id the results are the same.

mod action;
mod outcome;
mod world;

use std::collections::HashSet;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use lamina_fileops::Action;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use rayon::prelude::*;

use self::world::World;
use crate::machine::Machine;
use crate::rows::difference;
use crate::rows::rows;

const FILES: [&str; 5] = [
    "places.txt",
    "settings.txt",
    "patterns.txt",
    "wildcards.txt",
    "others.txt",
];

/// One row: what is done, and what is expected.
struct Row {
    name: String,
    actions: String,
    outcome: String,
}

/// The trees that rows start from.
struct Trees {
    machine: Machine,
    source: World,
    destination: World,
    sealed_source: LayerStack,
    sealed_destination: LayerStack,
    /// Seconds since 1970 before anything ran.
    start: i64,
}

#[test]
fn every_row_has_its_result() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let trees = Trees::new(machine);
    let rows: Vec<Row> = FILES.into_iter().flat_map(read).collect();
    let names: HashSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "rows have names of their own");
    let failures: Vec<String> = rows
        .par_iter()
        .filter_map(|row| {
            let wrong = trees.judge(row)?;
            Some(format!("{}: {}\n    {wrong}", row.name, row.actions))
        })
        .collect();
    let (count, all) = (failures.len(), rows.len());
    assert!(all > 1600, "only {all} rows");
    assert!(
        failures.is_empty(),
        "{count} of {all} rows\n{}",
        failures.join("\n")
    );
}

fn read(file: &str) -> Vec<Row> {
    let text = world::text(file);
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    while let Some(first) = lines.next() {
        let (name, actions) = first.split_once(": ").expect(first);
        let outcome = lines.next().and_then(|line| line.strip_prefix("    => "));
        rows.push(Row {
            name: name.to_owned(),
            actions: actions.to_owned(),
            outcome: outcome.expect(first).to_owned(),
        });
    }
    rows
}

impl Trees {
    fn new(machine: Machine) -> Self {
        let (source, destination) = (World::load("source.txt"), World::load("destination.txt"));
        let seal = |world: &World| {
            let layer = machine.on(&LayerStack::empty());
            world.write(&layer);
            machine.seal(layer)
        };
        let (sealed_source, sealed_destination) = (seal(&source), seal(&destination));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.expect("after 1970").as_secs();
        Self {
            machine,
            source,
            destination,
            sealed_source,
            sealed_destination,
            start: i64::try_from(seconds).expect("before the year 292 billion"),
        }
    }

    /// Returns what is wrong with the result of `row`.
    fn judge(&self, row: &Row) -> Option<String> {
        let done = self.run(&row.actions);
        match (done, row.outcome.strip_prefix("! ")) {
            (Err(error), Some(wanted)) if error == wanted => None,
            (Err(error), Some(wanted)) => Some(format!("fails: {error}\n    wanted: {wanted}")),
            (Err(error), None) => Some(format!("fails: {error}")),
            (Ok(_), Some(wanted)) => Some(format!("succeeds, should fail: {wanted}")),
            (Ok(stack), None) => {
                let wanted = outcome::expected(&self.destination, &self.source, &row.outcome);
                difference(&rows(&stack.tree()), &wanted.rows(), self.start)
            }
        }
    }

    fn run(&self, actions: &str) -> Result<LayerStack, String> {
        let (source, layer) = (
            self.sealed_source.tree(),
            self.machine.on(&self.sealed_destination),
        );
        for text in actions.split(" ; ") {
            let action = action::parse(text, &self.sealed_destination.tree());
            apply(&action, &layer, Some(&source), &CancelToken::new())
                .map_err(|error| without_names(&action, &error.to_string()))?;
        }
        Ok(self.machine.seal(layer))
    }
}

/// Takes away what every error of a copy begins with: the names that the client gave.
fn without_names(action: &Action, error: &str) -> String {
    let Action::Copy(copy) = action else {
        return error.to_owned();
    };
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let names = format!(
        "copy {} to {}: ",
        text(&copy.source),
        text(&copy.destination)
    );
    error.strip_prefix(&names).expect(error).to_owned()
}
