//! Here-documents: `<<WORD`, `<<-WORD`, `<<"WORD"` (rows DFI-09, DFI-26).

use crate::env::Env;
use crate::expand::ExpandError;
use crate::expand::Lexer;
use crate::syntax::Node;
use crate::syntax::SyntaxError;

/// A here-document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// Variables are expanded, since no part of the word was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are stripped.
    pub strip_tabs: bool,
    /// The lines between, with their line feeds.
    pub content: String,
}

/// Reads a word of a command as the start of a here-document; `None` if it is not one.
///
/// # Errors
/// If its quotes do not end.
pub fn heredoc_word(word: &str) -> Result<Option<Heredoc>, ExpandError> {
    let Some((strip_tabs, rest)) = split_marker(word) else {
        return Ok(None);
    };
    let env = Env::default();
    let lexer = Lexer::new('\\').keep_unset();
    let plain = lexer.words(rest, &env)?;
    let [name] = &plain[..] else {
        return Ok(None);
    };
    let raw = lexer.raw_quotes().words(rest, &env)?.concat();
    Ok(Some(Heredoc {
        name: name.clone(),
        expand: count_quotes(name) == count_quotes(&raw),
        strip_tabs,
        content: String::new(),
    }))
}

/// Cuts `3<<- WORD` into the dash and the word.
fn split_marker(word: &str) -> Option<(bool, &str)> {
    let rest = word.trim_start_matches(|ch: char| ch.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(|ch: char| ch.is_ascii_whitespace());
    (!rest.is_empty() && !rest.contains('<')).then_some((strip_tabs, rest))
}

fn count_quotes(word: &str) -> usize {
    word.matches(['\'', '"']).count()
}

/// Returns the here-documents that the instruction announces, without their contents.
pub(crate) fn announced(node: &Node) -> Result<Vec<Heredoc>, SyntaxError> {
    if !node.original.contains("<<") || !may_have_heredocs(node) {
        return Ok(Vec::new());
    }
    let lexer = Lexer::new('\\').keep_unset().raw_quotes().raw_escapes();
    // A line that is no word list (an open quote, for example) announces nothing.
    let words = lexer
        .words(&node.original, &Env::default())
        .unwrap_or_default();
    let mut documents = Vec::new();
    for word in words {
        documents.extend(heredoc_word(&word)?);
    }
    Ok(documents)
}

fn may_have_heredocs(node: &Node) -> bool {
    let node = match &node.arguments {
        super::Arguments::Trigger(inner) => inner,
        _ => node,
    };
    let takes = ["add", "copy", "run"].contains(&node.keyword.to_lowercase().as_str());
    takes && !node.arguments.is_json()
}

/// Returns the text with the tabs at the start of every line cut off.
#[must_use]
pub fn strip_leading_tabs(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.map(|line| line.trim_start_matches('\t')).collect()
}
