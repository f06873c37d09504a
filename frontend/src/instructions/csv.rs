//! One line of comma separated fields, quoted as RFC 4180 has it.

/// Says why a line is no list of fields.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// A quote in the middle of a field.
    #[error("parse error on line 1, column {column}: bare \" in non-quoted field")]
    BareQuote {
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Something behind a closing quote, or no closing quote.
    #[error("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")]
    Quote {
        /// Counted from 1, in bytes.
        column: usize,
    },
}

/// Cuts `line` into its fields.
///
/// # Errors
/// If quotes are wrong.
pub fn fields(line: &str) -> Result<Vec<String>, CsvError> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (field, next) = if line[at..].starts_with('"') {
            quoted_field(line, at + 1)?
        } else {
            bare_field(line, at)?
        };
        fields.push(field);
        match next {
            Some(next) => at = next,
            None => return Ok(fields),
        }
    }
}

fn bare_field(line: &str, start: usize) -> Result<(String, Option<usize>), CsvError> {
    let length = line[start..].find(',').unwrap_or(line.len() - start);
    let field = &line[start..start + length];
    if let Some(at) = field.find('"') {
        return Err(CsvError::BareQuote {
            column: start + at + 1,
        });
    }
    let next = start + length + 1;
    Ok((field.to_owned(), (next <= line.len()).then_some(next)))
}

fn quoted_field(line: &str, start: usize) -> Result<(String, Option<usize>), CsvError> {
    let mut field = String::new();
    let mut at = start;
    loop {
        let Some(length) = line[at..].find('"') else {
            return Err(CsvError::Quote {
                column: line.len() + 1,
            });
        };
        field.push_str(&line[at..at + length]);
        at += length + 1;
        match line[at..].chars().next() {
            Some('"') => {
                field.push('"');
                at += 1;
            }
            Some(',') => return Ok((field, Some(at + 1))),
            None => return Ok((field, None)),
            Some(_) => return Err(CsvError::Quote { column: at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (line, expected) in [
            ("a,b", Ok(vec!["a", "b"])),
            ("a,", Ok(vec!["a", ""])),
            ("\"a,b\",c", Ok(vec!["a,b", "c"])),
            ("\"a\"\"b\"", Ok(vec!["a\"b"])),
            ("a\"b", Err(CsvError::BareQuote { column: 2 })),
            ("\"a\"b", Err(CsvError::Quote { column: 3 })),
            ("\"a", Err(CsvError::Quote { column: 3 })),
        ] {
            let expected = expected.map(|list| list.into_iter().map(str::to_owned).collect());
            assert_eq!(fields(line), expected, "{line}");
        }
    }
}
