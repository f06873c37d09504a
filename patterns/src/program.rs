//! Wildcards compiled to chunks, matched exactly as Go does.
//!
//! A pattern is a row of chunks with stars before them. Go looks for the leftmost place of each
//! chunk and never comes back to an earlier one, and a star steps over bytes, not characters. With
//! classes that hold `/` this gives other answers than a regular expression would
//! (`*[^x]*b` does not match `a/b`), so such patterns run here.

use crate::PatternError;
use crate::chars::first_char;

/// Chunks of a pattern, in order.
#[derive(Clone, Debug)]
pub(crate) struct Program(Vec<Chunk>);

/// What stands between two stars.
#[derive(Clone, Debug)]
struct Chunk {
    /// A star stands before it.
    star: bool,
    items: Vec<Item>,
}

/// One element of a chunk.
#[derive(Clone, Debug)]
enum Item {
    /// This byte.
    Byte(u8),
    /// Any character but `/`.
    AnyChar,
    /// A character in (or not in) one of the ranges, which include both ends.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Program {
    /// Compiles `pattern`.
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        let mut chunks = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
            rest = &rest[stars..];
            let length = chunk_length(rest);
            let items =
                parse_chunk(&rest[..length]).ok_or_else(|| PatternError::syntax(pattern))?;
            chunks.push(Chunk {
                star: stars > 0,
                items,
            });
            rest = &rest[length..];
        }
        Ok(Self(chunks))
    }

    /// Returns an equal pattern in globset's syntax, if it means the same there.
    ///
    /// It does where only literals and stars occur: globset's `?` and classes work on bytes.
    pub(crate) fn to_glob(&self) -> Option<String> {
        let mut glob = String::new();
        for chunk in &self.0 {
            if chunk.star {
                glob.push('*');
            }
            for item in &chunk.items {
                match item {
                    Item::Byte(byte) if byte.is_ascii() => push_escaped(&mut glob, *byte),
                    _ => return None,
                }
            }
        }
        Some(glob)
    }

    /// Says whether all of `text` matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let mut rest = text;
        for (index, chunk) in self.0.iter().enumerate() {
            let last = index + 1 == self.0.len();
            match chunk.find(rest, last) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

fn push_escaped(glob: &mut String, byte: u8) {
    if !byte.is_ascii_alphanumeric() && byte != b'/' {
        glob.push('\\');
    }
    glob.push(char::from(byte));
}

/// Returns where the next star outside a class is.
fn chunk_length(pattern: &[u8]) -> usize {
    let mut in_class = false;
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => return at,
            _ => {}
        }
        at += 1;
    }
    pattern.len()
}

fn parse_chunk(chunk: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut rest = chunk;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'[' => {
                let (class, left) = parse_class(rest)?;
                items.push(class);
                rest = left;
            }
            b'?' => items.push(Item::AnyChar),
            b'\\' => {
                let (&escaped, left) = rest.split_first()?;
                items.push(Item::Byte(escaped));
                rest = left;
            }
            byte => items.push(Item::Byte(byte)),
        }
    }
    Some(items)
}

/// Parses a class behind its `[`.
fn parse_class(text: &[u8]) -> Option<(Item, &[u8])> {
    let (negated, mut rest) = match text.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let Some(left) = rest.strip_prefix(b"]")
            && !ranges.is_empty()
        {
            return Some((Item::Class { negated, ranges }, left));
        }
        let (low, after) = class_char(rest)?;
        rest = after;
        let mut high = low;
        if let Some(upper) = rest.strip_prefix(b"-") {
            (high, rest) = class_char(upper)?;
        }
        ranges.push((low, high));
    }
}

/// Parses one character of a class; something must follow it.
fn class_char(text: &[u8]) -> Option<(char, &[u8])> {
    let text = match text.first()? {
        b'-' | b']' => return None,
        b'\\' => &text[1..],
        _ => text,
    };
    let (found, length) = first_char(text);
    let rest = &text[length..];
    let bad_byte = found == char::REPLACEMENT_CHARACTER && length <= 1;
    (!bad_byte && !rest.is_empty()).then_some((found, rest))
}

impl Chunk {
    /// Returns what is left of `text` behind the first place where the chunk matches; the last
    /// chunk must leave nothing.
    fn find<'a>(&self, text: &'a [u8], last: bool) -> Option<&'a [u8]> {
        if self.star && self.items.is_empty() {
            return (!text.contains(&b'/')).then_some(&[]);
        }
        let steps = match self.star {
            true => text.iter().take_while(|&&byte| byte != b'/').count(),
            false => 0,
        };
        (0..=steps)
            .filter_map(|skip| self.match_at(&text[skip..]))
            .find(|left| left.is_empty() || !last)
    }

    fn match_at<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = text;
        for item in &self.items {
            rest = &rest[item.match_length(rest)?..];
        }
        Some(rest)
    }
}

impl Item {
    /// Returns how many bytes at the start of `text` match.
    fn match_length(&self, text: &[u8]) -> Option<usize> {
        let &first = text.first()?;
        match self {
            Self::Byte(byte) => (*byte == first).then_some(1),
            Self::AnyChar => (first != b'/').then(|| first_char(text).1),
            Self::Class { negated, ranges } => {
                let (found, length) = first_char(text);
                let inside = ranges
                    .iter()
                    .any(|&(low, high)| low <= found && found <= high);
                (inside != *negated).then_some(length)
            }
        }
    }
}
