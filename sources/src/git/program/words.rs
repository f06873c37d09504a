//! What git says: lines for the log, and the last ones for an error.

use lamina_types::without_credentials;

/// Of what was said, so much is kept.
const MAX_KEPT_BYTES: usize = 16 << 10;
/// A longer line is logged in parts.
const MAX_LINE_BYTES: usize = 4 << 10;
/// A shorter text is no secret, and hiding it would make logs unreadable.
const MIN_SECRET_BYTES: usize = 4;

const MASK: &str = "xxxxx";

/// Hints that follow the words that matter.
const HINTS: [&str; 2] = [
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

/// What git says when only the line before tells why.
const UNTOLD: [&str; 3] = [
    "fatal: Could not read from remote repository.",
    "fatal: the remote end hung up unexpectedly",
    "fatal: unresolved deltas left after unpacking",
];

/// What one run says. Secrets are hidden in it: a server knows them and may send them back.
#[derive(Debug, Default)]
pub(in super::super) struct Words {
    secrets: Vec<String>,
    /// The line that has not ended yet.
    begun: Vec<u8>,
    kept: String,
}

impl Words {
    pub(super) fn new(secrets: &[String]) -> Self {
        let hidden = |secret: &&String| secret.len() >= MIN_SECRET_BYTES;
        Self {
            secrets: secrets.iter().filter(hidden).cloned().collect(),
            ..Self::default()
        }
    }

    /// Takes a piece of output; returns the lines that end in it, ready to be shown. Of a line that
    /// was written over, as progress is, the last state counts.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in piece {
            match byte {
                b'\n' => lines.extend(self.finish()),
                b'\r' => self.begun.push(byte),
                // What was written over need not be kept.
                _ => {
                    if self.begun.last() == Some(&b'\r') {
                        self.begun.clear();
                    }
                    self.begun.push(byte);
                    if self.begun.len() >= MAX_LINE_BYTES {
                        lines.extend(self.finish());
                    }
                }
            }
        }
        lines
    }

    /// Ends the line that was begun; none if there is nothing in it.
    pub(super) fn finish(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        let line = self.shown(line.trim_end());
        if line.is_empty() {
            return None;
        }
        self.keep(&line);
        Some(format!("{line}\n"))
    }

    /// Hides secrets, and what could steer a terminal.
    fn shown(&self, line: &str) -> String {
        let is_plain = |c: &char| !c.is_control() || *c == '\t';
        let mut line: String = line.chars().filter(is_plain).collect();
        for secret in &self.secrets {
            line = line.replace(secret, MASK);
        }
        without_credentials(&line).into_owned()
    }

    fn keep(&mut self, line: &str) {
        while self.kept.len() + line.len() > MAX_KEPT_BYTES
            && let Some(end) = self.kept.find('\n')
        {
            self.kept.drain(..=end);
        }
        self.kept.push_str(line);
        self.kept.push('\n');
    }

    /// Returns all that is kept.
    pub(super) fn text(&self) -> &str {
        &self.kept
    }

    /// Returns the words that say best why a run failed.
    pub(super) fn last(&self) -> String {
        let lines: Vec<&str> = self
            .kept
            .lines()
            .filter(|line| !HINTS.contains(line))
            .collect();
        let is_reason = |line: &&str| line.starts_with("fatal:") || line.starts_with("error:");
        let at = lines.iter().rposition(is_reason);
        let Some(at) = at.or(lines.len().checked_sub(1)) else {
            return "git says nothing".to_owned();
        };
        let before = at.checked_sub(1).filter(|_| UNTOLD.contains(&lines[at]));
        match before {
            Some(before) => format!("{}: {}", lines[before], lines[at]),
            None => lines[at].to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, secrets: &[&str]) -> (Vec<String>, Words) {
        let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
        let mut words = Words::new(&secrets);
        let mut lines = words.take(text.as_bytes());
        lines.extend(words.finish());
        (lines, words)
    }

    #[test]
    fn progress_is_logged_once_it_is_done() {
        let text =
            "remote: Counting: 50%\rremote: Counting: 100%, done.\nReceiving:  1%\rab\n\n\x1b[31mx";
        let (lines, _) = said(text, &[]);
        assert_eq!(
            lines,
            ["remote: Counting: 100%, done.\n", "ab\n", "[31mx\n"]
        );
    }

    #[test]
    fn secrets_are_hidden() {
        let text = "remote: you sent Basic c2VjcmV0 to https://u:p@h/a\n";
        let (lines, words) = said(text, &["c2VjcmV0", "o"]);
        let shown = "remote: you sent Basic xxxxx to https://xxxxx:xxxxx@h/a";
        assert_eq!(lines, [format!("{shown}\n")]);
        assert_eq!(words.last(), shown);
    }

    #[test]
    fn the_words_that_say_why_are_chosen() {
        for (text, wanted) in [
            ("a\nfatal: no\n", "fatal: no"),
            ("fatal: no\nhint: x\n", "fatal: no"),
            ("error: a\nfatal: b", "fatal: b"),
            (
                "Host key verification failed.\nfatal: Could not read from remote repository.\n\n\
                 Please make sure you have the correct access rights\nand the repository exists.\n",
                "Host key verification failed.: fatal: Could not read from remote repository.",
            ),
            ("x\ny\n", "y"),
            ("", "git says nothing"),
        ] {
            assert_eq!(said(text, &[]).1.last(), wanted, "{text:?}");
        }
    }

    #[test]
    fn only_the_end_of_long_speeches_is_kept() {
        let (lines, words) = said(&"a".repeat(100_000), &[]);
        assert_eq!(lines.len(), 100_000_usize.div_ceil(MAX_LINE_BYTES));
        assert!(words.text().len() <= MAX_KEPT_BYTES + MAX_LINE_BYTES);
    }
}
