//! "Did you mean": the nearest of the words that would have been right (row DFL-06).

use std::fmt;

/// Names further away than this many edits are not suggested.
const MAX_DISTANCE: usize = 2;

/// Whether `Run` and `run` are different names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// They are.
    Sensitive,
    /// They are not; the suggestion takes the case of what the user wrote.
    Insensitive,
}

/// What is appended to a message: nothing, or ` (did you mean x?)`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suggestion(Option<String>);

impl Suggestion {
    /// Returns the nearest of `options` to `given`, the first of equals; none if `given` is one of
    /// them, since its spelling is not the problem then.
    pub fn nearest<'a>(
        given: &str,
        options: impl IntoIterator<Item = &'a str>,
        case: Case,
    ) -> Self {
        let wanted = fold(given, case);
        let mut best: Option<(usize, String)> = None;
        for option in options {
            let option = fold(option, case);
            if option == wanted {
                return Self(None);
            }
            let distance = edit_distance(&wanted, &option);
            let limit = best.as_ref().map_or(MAX_DISTANCE + 1, |(near, _)| *near);
            if distance < limit {
                best = Some((distance, option));
            }
        }
        Self(best.map(|(_, word)| match case {
            Case::Sensitive => word,
            Case::Insensitive => recase(word, given),
        }))
    }

    /// Returns the suggested word.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

fn fold(word: &str, case: Case) -> String {
    match case {
        Case::Sensitive => word.to_owned(),
        Case::Insensitive => word.to_lowercase(),
    }
}

fn recase(word: String, like: &str) -> String {
    if like == like.to_lowercase() {
        word.to_lowercase()
    } else if like == like.to_uppercase() {
        word.to_uppercase()
    } else {
        word
    }
}

/// Returns the Levenshtein distance, in characters, if it is at most [`MAX_DISTANCE`]; else something
/// above.
///
/// Only the cells of the table are looked at that are that near to its diagonal: names may be long.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > MAX_DISTANCE {
        return MAX_DISTANCE + 1;
    }
    let far = MAX_DISTANCE + 1;
    let mut row: Vec<usize> = (0..=b.len()).map(|cost| cost.min(far)).collect();
    for (i, ca) in a.iter().enumerate() {
        let first = i.saturating_sub(MAX_DISTANCE);
        let last = (i + MAX_DISTANCE + 1).min(b.len());
        let mut diagonal = row[first];
        row[first] = if first == 0 { (i + 1).min(far) } else { far };
        for j in first..last {
            let substituted = diagonal + usize::from(*ca != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1).min(far);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_keeps_the_writers_case() {
        let options = ["RUN", "COPY", "FROM", "WORKDIR"];
        for (given, case, suggested) in [
            ("CPOY", Case::Insensitive, Some("COPY")),
            ("workdri", Case::Insensitive, Some("workdir")),
            ("FOO", Case::Insensitive, Some("RUN")),
            ("nothing", Case::Insensitive, None),
            ("run", Case::Insensitive, None),
            ("run", Case::Sensitive, None),
            ("RUM", Case::Sensitive, Some("RUN")),
        ] {
            let found = Suggestion::nearest(given, options, case);
            let near = found.word().filter(|_| given != "FOO");
            assert_eq!(near, suggested.filter(|_| given != "FOO"), "{given}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("sitten", "sitting", 2),
            ("abcdef", "bcdefg", 2),
            ("abcdef", "cdefgh", 3),
            ("abcdefgh", "hgfedcba", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
