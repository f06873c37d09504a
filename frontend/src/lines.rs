//! Places in the Dockerfile.

use lamina_proto::pb;

/// A run of lines of the Dockerfile, both ends included, counted from 1.
///
/// Line 0 stands for "before the first line": that is what clients are shown for a bad `escape`
/// directive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lines {
    /// The first line.
    pub first: u32,
    /// The last line, never before the first.
    pub last: u32,
}

impl Lines {
    /// Returns the run from `first` to `last`; a `last` before `first` counts as `first`.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Self {
        Self {
            first,
            last: last.max(first),
        }
    }

    /// Returns one range for each line, the form that clients print (row ERR-02).
    #[must_use]
    pub fn to_ranges(self) -> Vec<pb::Range> {
        (self.first..=self.last).map(range_of_line).collect()
    }
}

fn range_of_line(line: u32) -> pb::Range {
    let position = pb::Position {
        line: i32::try_from(line).unwrap_or(i32::MAX),
        character: 0,
    };
    pb::Range {
        start: Some(position),
        end: Some(position),
    }
}
