//! The scanner: quotes, escapes, and where substitutions start.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use crate::env::Env;
use crate::expand::ExpandError;
use crate::expand::Lexer;
use crate::expand::MAX_DEPTH;
use crate::expand::MAX_EXPANDED_BYTES;
use crate::expand::words::WordBuffer;

/// One pass over a text.
pub(crate) struct Scan<'a> {
    pub(super) chars: Peekable<Chars<'a>>,
    pub(super) lexer: &'a Lexer,
    env: &'a Env,
    raw_escapes: bool,
    depth: u32,
    pub(crate) found: BTreeSet<String>,
    pub(crate) missing: BTreeSet<String>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a str, lexer: &'a Lexer, env: &'a Env) -> Self {
        Self {
            chars: text.chars().peekable(),
            lexer,
            env,
            raw_escapes: lexer.raw_escapes,
            depth: 0,
            found: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }

    /// Reads up to `stop`, which is consumed, or to the end of the text.
    pub(crate) fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandError> {
        if self.depth >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        self.depth += 1;
        let result = self.until_inner(stop);
        self.depth -= 1;
        self.raw_escapes = outer;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = WordBuffer::default();
        while let Some(&ch) = self.chars.peek() {
            if stop == Some(ch) {
                self.chars.next();
                return Ok((text, words.finish()));
            }
            self.piece(ch, &mut text, &mut words)?;
            if text.len() > MAX_EXPANDED_BYTES {
                return Err(ExpandError::TooLong);
            }
        }
        match stop {
            // The caller says what was missing.
            Some(_) => Err(ExpandError::MissingBrace),
            None => Ok((text, words.finish())),
        }
    }

    /// Reads what starts with `ch`.
    fn piece(
        &mut self,
        ch: char,
        text: &mut String,
        words: &mut WordBuffer,
    ) -> Result<(), ExpandError> {
        let quotes = !self.lexer.ignore_quotes;
        let read = match ch {
            '$' => {
                let value = self.dollar()?;
                words.push_value(&value);
                text.push_str(&value);
                return Ok(());
            }
            '<' => self.angle(),
            '\'' if quotes => self.single_quoted()?,
            '"' if quotes => self.double_quoted()?,
            _ => {
                self.plain(text, words);
                return Ok(());
            }
        };
        words.push_quoted(&read);
        text.push_str(&read);
        Ok(())
    }

    fn plain(&mut self, text: &mut String, words: &mut WordBuffer) {
        let Some(ch) = self.chars.next() else { return };
        if ch != self.lexer.escape {
            words.push(ch);
            text.push(ch);
            return;
        }
        if self.raw_escapes {
            words.push_raw(ch);
            text.push(ch);
        }
        if let Some(escaped) = self.chars.next() {
            words.push_raw(escaped);
            text.push(escaped);
        }
    }

    /// `<<` takes the blanks behind it along, so that `<< EOF` is one word.
    fn angle(&mut self) -> String {
        let mut read = String::from("<");
        self.chars.next();
        if self.chars.next_if_eq(&'<').is_none() {
            return read;
        }
        read.push('<');
        while let Some(blank) = self.chars.next_if(|ch| matches!(ch, '\t' | '\r' | ' ')) {
            read.push(blank);
        }
        read
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut read = String::new();
        self.push_quote(&mut read);
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::OpenQuote { kind: "single" }),
                Some('\'') => {
                    self.push_quote(&mut read);
                    return Ok(read);
                }
                Some(_) => read.extend(self.chars.next()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut read = String::new();
        self.push_quote(&mut read);
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::OpenQuote { kind: "double" }),
                Some('"') => {
                    self.push_quote(&mut read);
                    return Ok(read);
                }
                Some('$') => {
                    read.push_str(&self.dollar()?);
                    if read.len() > MAX_EXPANDED_BYTES {
                        return Err(ExpandError::TooLong);
                    }
                }
                Some(_) => self.inside_double_quotes(&mut read),
            }
        }
    }

    /// Inside double quotes only the quote, the dollar and the escape itself can be escaped.
    fn inside_double_quotes(&mut self, read: &mut String) {
        let Some(ch) = self.chars.next() else { return };
        if ch != self.lexer.escape {
            read.push(ch);
            return;
        }
        if self.raw_escapes {
            read.push(ch);
        }
        match self.chars.peek() {
            None => {}
            Some(&next) if next == '"' || next == '$' || next == self.lexer.escape => {
                self.chars.next();
                read.push(next);
            }
            Some(_) => read.push(ch),
        }
    }

    fn push_quote(&mut self, read: &mut String) {
        let quote = self.chars.next();
        if self.lexer.raw_quotes {
            read.extend(quote);
        }
    }

    /// Looks a variable up and remembers whether it is set.
    pub(super) fn value(&mut self, name: &str) -> Option<String> {
        let value = self.env.get(name);
        let list = match value {
            Some(_) => &mut self.found,
            None => &mut self.missing,
        };
        list.insert(name.to_owned());
        value.map(ToOwned::to_owned)
    }
}
