//! The ignore file of the build context, and what it says of paths (row FDF-47).

use lamina_patterns::PatternList;
use lamina_patterns::parse_ignore_file;

use crate::error::FrontendError;
use crate::paths;

/// An ignore file, ready to be asked.
#[derive(Debug)]
pub(crate) struct IgnoreFile {
    name: String,
    /// The number of each pattern's line, from 1.
    lines: Vec<usize>,
    patterns: Vec<String>,
    list: PatternList,
}

impl IgnoreFile {
    /// Parses the file that the user knows as `name`.
    ///
    /// # Errors
    /// [`FrontendError::IgnorePattern`] if a pattern is malformed.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, FrontendError> {
        let (lines, patterns): (_, Vec<String>) = parse_ignore_file(bytes).into_iter().unzip();
        let list = PatternList::new(&patterns).map_err(|_| FrontendError::IgnorePattern)?;
        Ok(Self {
            name: name.to_owned(),
            lines,
            patterns,
            list,
        })
    }

    /// Returns the patterns.
    pub(crate) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Returns the compiled patterns.
    pub(crate) fn list(&self) -> &PatternList {
        &self.list
    }

    /// Says whether a pattern stands for all names. Several that do so together are not recognised.
    pub(crate) fn leaves_everything_out(&self) -> bool {
        const ALL: [&str; 3] = ["*", "**", "**/*"];
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| ALL.contains(&pattern.as_str()))
    }

    /// Returns why `path`, as the user wrote it, is not in the context, if this file is the reason.
    pub(crate) fn reason(&self, path: &str) -> Option<String> {
        let cleaned = paths::clean(path);
        let relative = cleaned.trim_start_matches('/').as_bytes();
        let line = self.lines[self.list.deciding(relative)?];
        let excluded = self.list.matches_path(relative);
        excluded.then(|| format!("{path} was excluded by {} line {line}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_decided_is_named() {
        let text = b"# comment\n\n*.log\napp\n!app/keep\n";
        let file = IgnoreFile::parse(".dockerignore", text).expect("well formed");
        for (path, line) in [
            ("a.log", Some(3)),
            ("/a.log", Some(3)),
            ("app", Some(4)),
            ("./app/x/", Some(4)),
            ("app/keep", None),
            ("src", None),
            ("dir/a.log", None),
        ] {
            let wanted =
                line.map(|line| format!("{path} was excluded by .dockerignore line {line}"));
            assert_eq!(file.reason(path), wanted, "{path}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let parsed = IgnoreFile::parse(".dockerignore", b"[a\n");
        assert!(matches!(parsed, Err(FrontendError::IgnorePattern)));
    }
}
