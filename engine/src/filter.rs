//! The filter language of containerd, which disk usage, workers and the history are asked in (rows
//! CTL-02, CTL-06, CTL-18).
//!
//! ```text
//! filter    = selector ("," selector)*        all must match; an empty filter matches everything
//! selector  = path [operator value]           without operator: the field is there
//! path      = field ("." field)*              field = name or "quoted"
//! operator  = "==" | "!=" | "~="              equal, not equal, matches the regular expression
//! value     = name or "quoted"                for ~= also /regex/ or |regex|
//! ```
//!
//! A quoted text follows Go's rules for the common escapes. Several filters match if one does.

use regex::Regex;

/// Largest compiled size of a regular expression, so that a filter cannot take all memory.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A filter makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at position {position}")]
pub(crate) struct FilterError {
    pub(crate) position: usize,
    pub(crate) reason: String,
}

/// Something that filters are asked about: the value of a field, `None` if it has no such field.
pub(crate) trait Fields {
    fn field(&self, path: &[String]) -> Option<String>;
}

/// Several filters, of which one must match; none at all match everything.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Vec<Selector>>);

#[derive(Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filters {
    /// Parses filters; the error comes with the filter that it is about.
    pub(crate) fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self, (String, FilterError)> {
        let parse = |filter: &S| {
            let text = filter.as_ref();
            parse_filter(text).map_err(|error| (text.to_owned(), error))
        };
        filters
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn match_fields(&self, subject: &dyn Fields) -> bool {
        let all = |selectors: &Vec<Selector>| selectors.iter().all(|s| s.matches(subject));
        self.0.is_empty() || self.0.iter().any(all)
    }
}

impl Selector {
    fn matches(&self, subject: &dyn Fields) -> bool {
        let value = subject.field(&self.path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == *wanted),
            Test::NotEqual(wanted) => value.is_none_or(|value| value != *wanted),
            Test::Matches(regex) => value.is_some_and(|value| regex.is_match(&value)),
        }
    }
}

fn parse_filter(text: &str) -> Result<Vec<Selector>, FilterError> {
    let mut parser = Parser { text, position: 0 };
    let mut selectors = Vec::new();
    if text.trim().is_empty() {
        return Ok(selectors);
    }
    loop {
        selectors.push(parser.selector()?);
        if parser.rest().is_empty() {
            return Ok(selectors);
        }
        parser.expect(',')?;
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.position += wanted.len();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), FilterError> {
        if self.take(wanted.encode_utf8(&mut [0; 4])) {
            return Ok(());
        }
        Err(self.error(format!("expected {wanted:?}")))
    }

    fn error(&self, reason: impl Into<String>) -> FilterError {
        FilterError {
            position: self.position,
            reason: reason.into(),
        }
    }

    fn selector(&mut self) -> Result<Selector, FilterError> {
        let path = self.path()?;
        let test = if self.take("==") {
            Test::Equal(self.value()?)
        } else if self.take("!=") {
            Test::NotEqual(self.value()?)
        } else if self.take("~=") {
            Test::Matches(self.regex()?)
        } else {
            Test::Present
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Vec<String>, FilterError> {
        let mut path = vec![self.field()?];
        while self.take(".") {
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String, FilterError> {
        if self.peek() == Some('"') {
            return self.quoted('"');
        }
        let name = self.run(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if name.is_empty() {
            return Err(self.error("expected a field name"));
        }
        Ok(name)
    }

    /// A value reaches to the next comma unless it is quoted.
    fn value(&mut self) -> Result<String, FilterError> {
        if self.peek() == Some('"') {
            return self.quoted('"');
        }
        Ok(self.run(|c| !matches!(c, ',' | '"')))
    }

    fn regex(&mut self) -> Result<Regex, FilterError> {
        let start = self.position;
        let pattern = match self.peek() {
            Some(quote @ ('/' | '|')) => self.quoted(quote)?,
            _ => self.value()?,
        };
        let compiled = regex::RegexBuilder::new(&pattern)
            .size_limit(MAX_REGEX_BYTES)
            .build();
        compiled.map_err(|_| FilterError {
            position: start,
            reason: format!("bad regular expression {pattern:?}"),
        })
    }

    fn run(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let run = rest[..end].to_owned();
        self.position += end;
        run
    }

    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        self.expect(quote)?;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.position += c.len_utf8();
            match c {
                c if c == quote => return Ok(text),
                '\\' => self.escape(quote, &mut text)?,
                c => text.push(c),
            }
        }
        Err(self.error("missing end of quote"))
    }

    fn escape(&mut self, quote: char, text: &mut String) -> Result<(), FilterError> {
        let c = self
            .peek()
            .ok_or_else(|| self.error("missing end of quote"))?;
        self.position += c.len_utf8();
        match c {
            'n' if quote == '"' => text.push('\n'),
            't' if quote == '"' => text.push('\t'),
            'r' if quote == '"' => text.push('\r'),
            '\\' | '"' if quote == '"' => text.push(c),
            c if c == quote => text.push(c),
            // Regular expressions have escapes of their own.
            c if quote != '"' => text.extend(['\\', c]),
            c => return Err(self.error(format!("unknown escape \\{c}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Worker;

    impl Fields for Worker {
        fn field(&self, path: &[String]) -> Option<String> {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            match path[..] {
                ["id"] => Some("abc".to_owned()),
                ["labels", "a.b/c"] => Some("x,y".to_owned()),
                ["inuse"] => Some(String::new()),
                _ => None,
            }
        }
    }

    #[test]
    fn what_matches() {
        for (filters, wanted) in [
            (&[][..], true),
            (&[""], true),
            (&["id==abc"], true),
            (&["id==ab"], false),
            (&["id!=ab"], true),
            (&["id!=abc"], false),
            (&["nothere!=x"], true),
            (&["nothere==x"], false),
            (&["nothere"], false),
            (&["inuse"], true),
            (&["id==abc,inuse"], true),
            (&["id==abc,nothere"], false),
            (&["nothere", "id~=^a"], true),
            (&["id~=^b"], false),
            (&["id~=/b.$/"], true),
            (&[r#"labels."a.b/c"=="x,y""#], true),
            (&[r#"labels."a.b/c"==x"#], false),
        ] {
            let parsed = Filters::parse(filters).expect("a filter");
            assert_eq!(parsed.match_fields(&Worker), wanted, "{filters:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (filter, position) in [
            ("==x", 0),
            ("id==a,", 6),
            ("id=a", 2),
            ("id==\"a", 6),
            ("id~=(", 4),
            ("id~=a{1000}{1000}{1000}", 4),
            ("a..b", 2),
            ("id==\"\\q\"", 7),
        ] {
            let (text, error) = Filters::parse(&[filter]).expect_err(filter);
            assert_eq!(
                (text.as_str(), error.position),
                (filter, position),
                "{error}"
            );
        }
    }
}
