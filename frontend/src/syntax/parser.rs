//! From lines to instructions: comments, continuations, here-documents.

use crate::lines::Lines;
use crate::located::Located;
use crate::syntax::Dockerfile;
use crate::syntax::MAX_INSTRUCTIONS;
use crate::syntax::Node;
use crate::syntax::SyntaxError;
use crate::syntax::arguments;
use crate::syntax::directives::DirectiveReader;
use crate::syntax::directives::escape_of;
use crate::syntax::heredoc;
use crate::syntax::source::LineReader;
use crate::syntax::source::is_comment;
use crate::syntax::source::without_newline;

type Result<T> = std::result::Result<T, Located<SyntaxError>>;

/// Parses a Dockerfile.
///
/// # Errors
/// At the first thing that is wrong, with its lines.
pub fn parse(text: &str) -> Result<Dockerfile> {
    let mut parser = Parser::new(text);
    while let Some(line) = parser.lines.next() {
        parser.line(line)?;
    }
    parser.finish()
}

struct Parser<'a> {
    lines: LineReader<'a>,
    /// Lines read so far.
    count: u32,
    directives: DirectiveReader,
    comments: Vec<String>,
    file: Dockerfile,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            lines: LineReader::new(text.strip_prefix('\u{feff}').unwrap_or(text)),
            count: 0,
            directives: DirectiveReader::new("#", 0),
            comments: Vec::new(),
            file: Dockerfile {
                nodes: Vec::new(),
                escape: '\\',
                empty_continuations: Vec::new(),
            },
        }
    }

    /// Takes a line that starts an instruction, or is a comment or blank.
    fn line(&mut self, line: &str) -> Result<()> {
        self.comment(line);
        let text = without_newline(line).trim_start();
        self.directive(text)?;
        self.count += 1;
        let text = if is_comment(text) { "" } else { text };
        let (text, continues) = cut_continuation(text, self.file.escape);
        if !continues && text.is_empty() {
            return Ok(());
        }
        self.instruction(text.to_owned(), continues)
    }

    /// Remembers a comment for the instruction below; an empty one separates.
    fn comment(&mut self, line: &str) {
        if !is_comment(line) {
            return;
        }
        let mut chars = line.chars();
        chars.next();
        match chars.as_str().trim() {
            "" => self.comments.clear(),
            comment => self.comments.push(comment.to_owned()),
        }
    }

    fn directive(&mut self, text: &str) -> Result<()> {
        let here = Lines::new(self.count, self.count);
        let read = self.directives.read(text);
        let Some(directive) = read.map_err(|error| Located::at(error, here))? else {
            return Ok(());
        };
        self.comments.pop();
        if let Some(escape) = escape_of(&directive, self.count)? {
            self.file.escape = escape;
        }
        Ok(())
    }

    fn instruction(&mut self, mut text: String, mut continues: bool) -> Result<()> {
        let first = self.count;
        let mut has_empty_line = false;
        while continues {
            let Some(line) = self.lines.next() else { break };
            self.count += 1;
            if is_comment(line) {
                continue;
            }
            let line = without_newline(line);
            if line.trim_start().is_empty() {
                has_empty_line = true;
                continue;
            }
            let (piece, more) = cut_continuation(line, self.file.escape);
            text.push_str(piece);
            continues = more;
        }
        if has_empty_line {
            self.file.empty_continuations.push(self.count);
        }
        if self.file.nodes.len() == MAX_INSTRUCTIONS {
            let here = Lines::new(first, self.count);
            return Err(Located::at(SyntaxError::TooManyInstructions, here));
        }
        let node = self.node(&text, first)?;
        self.file.nodes.push(node);
        Ok(())
    }

    fn node(&mut self, text: &str, first: u32) -> Result<Node> {
        let here = Lines::new(first, self.count);
        let comments = std::mem::take(&mut self.comments);
        let locate = |error| Located::at(error, here);
        let mut node = arguments::node(text, self.file.escape, here, comments).map_err(locate)?;
        node.heredocs = heredoc::announced(&node).map_err(locate)?;
        for document in &mut node.heredocs {
            document.content = self.heredoc_content(&document.name, document.strip_tabs, first)?;
        }
        node.lines = Lines::new(first, self.count);
        Ok(node)
    }

    fn heredoc_content(&mut self, name: &str, strip_tabs: bool, first: u32) -> Result<String> {
        let mut content = String::new();
        for line in self.lines.by_ref() {
            self.count += 1;
            let text = without_newline(line);
            let text = if strip_tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if text == name {
                return Ok(content);
            }
            content.push_str(line);
        }
        let here = Lines::new(first, self.count);
        Err(Located::at(SyntaxError::UnterminatedHeredoc, here))
    }

    fn finish(self) -> Result<Dockerfile> {
        let here = Lines::new(self.count, self.count);
        if self.file.nodes.is_empty() {
            return Err(Located::at(SyntaxError::NoInstructions, here));
        }
        if self.lines.stopped_at_long_line() {
            return Err(Located::at(SyntaxError::LineTooLong, here));
        }
        Ok(self.file)
    }
}

/// Cuts off the escape character at the end of the line, if it is one: not itself escaped, with
/// nothing but blanks behind it.
fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(before) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else {
        return (line, false);
    };
    if before.ends_with(escape) {
        return (line, false);
    }
    (before, true)
}
