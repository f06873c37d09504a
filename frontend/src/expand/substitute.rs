//! `$v` and `${v..}`.

use crate::expand::ExpandError;
use crate::expand::pattern::ShellPattern;
use crate::expand::scan::Scan;

/// What stands for "no character" in messages.
const END: char = '\u{fffd}';

impl Scan<'_> {
    /// Reads a substitution; the next character is its dollar.
    pub(super) fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.value(&name) {
            Some(value) => value,
            None if self.lexer.keep_unset => format!("${name}"),
            None => String::new(),
        })
    }

    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.chars.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            Some('}') => Ok(match self.value(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let operator = self.chars.next().unwrap_or(END);
                self.with_word(&name, operator, true)
            }
            Some('/') => self.replace(&name),
            other => self.with_word(&name, other.unwrap_or(END), false),
        }
    }

    /// `${v<operator>word}`; `colon` means that an empty value counts as none.
    fn with_word(
        &mut self,
        name: &str,
        operator: char,
        colon: bool,
    ) -> Result<String, ExpandError> {
        let shown = if colon {
            format!(":{operator}")
        } else {
            operator.to_string()
        };
        let is_pattern = matches!(operator, '#' | '%');
        let known = is_pattern || matches!(operator, '+' | '-' | '?');
        if (!known && !colon) || (colon && is_pattern) {
            return Err(ExpandError::UnsupportedModifier { modifier: shown });
        }
        let word = self.operand('}', is_pattern, ExpandError::MissingBrace)?;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let present = value.clone().filter(|value| !colon || !value.is_empty());
        match operator {
            '-' => Ok(present.unwrap_or(word)),
            '+' => Ok(present.map_or_else(String::new, |_| word)),
            '?' => present.ok_or_else(|| required(name, word, value.is_some())),
            '#' | '%' => trim(&word, value.unwrap_or_default(), operator),
            _ => Err(ExpandError::UnsupportedModifier { modifier: shown }),
        }
    }

    /// Reads an operand; if the text ends before `stop`, that is `missing`.
    fn operand(
        &mut self,
        stop: char,
        raw_escapes: bool,
        missing: ExpandError,
    ) -> Result<String, ExpandError> {
        match self.until(Some(stop), raw_escapes) {
            Ok((text, _)) => Ok(text),
            Err(_) if self.chars.peek().is_none() => Err(missing),
            Err(error) => Err(error),
        }
    }

    /// `${v/pattern/replacement}` and `${v//pattern/replacement}`.
    fn replace(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.operand('/', true, ExpandError::MissingSlash)?;
        let replacement = self.operand('}', true, ExpandError::MissingBrace)?;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let shell_pattern = ShellPattern::anywhere(&pattern)?;
        Ok(shell_pattern.replace(&value.unwrap_or_default(), &replacement, all))
    }

    /// Reads a variable's name: a word, a number, or one of the special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(&ch) if is_special(ch) && !ch.is_ascii_digit() => {
                name.extend(self.chars.next());
                return name;
            }
            Some(ch) if ch.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|ch| ch.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            _ => {}
        }
        while let Some(ch) = self.chars.next_if(|&ch| ch.is_alphanumeric() || ch == '_') {
            name.push(ch);
        }
        name
    }
}

fn is_special(ch: char) -> bool {
    matches!(ch, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0')
}

fn required(name: &str, word: String, is_set: bool) -> ExpandError {
    let message = match (word.is_empty(), is_set) {
        (false, _) => word,
        (true, false) => "is not allowed to be unset".to_owned(),
        (true, true) => "is not allowed to be empty".to_owned(),
    };
    ExpandError::Required {
        name: name.to_owned(),
        message,
    }
}

/// `#` cuts at the start, `%` at the end; doubled they take as much as they can.
fn trim(word: &str, value: String, operator: char) -> Result<String, ExpandError> {
    let (pattern, greedy) = match word.strip_prefix(operator) {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    if operator == '#' {
        return Ok(ShellPattern::prefix(pattern, greedy)?
            .cut(&value)
            .to_owned());
    }
    // The shortest match at the end is found from the start of the mirrored text.
    let mirrored = ShellPattern::prefix(&mirror_pattern(pattern), greedy)?;
    Ok(mirror(mirrored.cut(&mirror(&value))))
}

fn mirror(text: &str) -> String {
    text.chars().rev().collect()
}

/// Mirrors a pattern but keeps every escape in front of what it escapes.
fn mirror_pattern(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(ch) = chars.next() {
        let mut unit = ch.to_string();
        if ch == '\\' {
            unit.extend(chars.next());
        }
        units.push(unit);
    }
    units.reverse();
    units.concat()
}
