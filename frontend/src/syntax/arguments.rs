//! One instruction's line: which grammar its arguments have.

use crate::lines::Lines;
use crate::syntax::Arguments;
use crate::syntax::Node;
use crate::syntax::SyntaxError;
use crate::syntax::flags::split_command;
use crate::syntax::json::json_array;
use crate::syntax::words::pairs;
use crate::syntax::words::plain_words;
use crate::syntax::words::quoted_words;

/// Triggers inside triggers deeper than this are not looked into; none is allowed anyway.
const MAX_TRIGGER_DEPTH: u32 = 16;

/// Reads a joined line as an instruction.
pub(crate) fn node(
    line: &str,
    escape: char,
    lines: Lines,
    comments: Vec<String>,
) -> Result<Node, SyntaxError> {
    nested_node(line, escape, lines, comments, 0)
}

fn nested_node(
    line: &str,
    escape: char,
    lines: Lines,
    comments: Vec<String>,
    depth: u32,
) -> Result<Node, SyntaxError> {
    let split = split_command(line, escape);
    let keyword = split.keyword.to_lowercase();
    let arguments = if keyword == "onbuild" && !split.rest.is_empty() && depth < MAX_TRIGGER_DEPTH {
        let inner = nested_node(&split.rest, escape, lines, Vec::new(), depth + 1)?;
        Arguments::Trigger(Box::new(inner))
    } else {
        arguments(&keyword, split.rest, escape)?
    };
    Ok(Node {
        keyword: split.keyword.to_owned(),
        flags: split.flags,
        arguments,
        heredocs: Vec::new(),
        original: line.to_owned(),
        lines,
        comments,
    })
}

fn arguments(keyword: &str, rest: String, escape: char) -> Result<Arguments, SyntaxError> {
    match keyword {
        "add" | "copy" | "volume" => json_or_words(&rest),
        "cmd" | "entrypoint" | "run" | "shell" => json_or_line(rest),
        "env" => pairs(&rest, "ENV", escape).map(Arguments::Pairs),
        "label" => pairs(&rest, "LABEL", escape).map(Arguments::Pairs),
        "arg" => Ok(Arguments::Words(quoted_words(&rest, escape))),
        "expose" | "from" => Ok(Arguments::Words(plain_words(&rest))),
        "healthcheck" => healthcheck(&rest),
        _ => Ok(whole_line(rest)),
    }
}

fn whole_line(rest: String) -> Arguments {
    if rest.is_empty() {
        Arguments::Words(Vec::new())
    } else {
        Arguments::Words(vec![rest])
    }
}

fn json_or_words(rest: &str) -> Result<Arguments, SyntaxError> {
    let json = json_array(rest)?;
    Ok(json.unwrap_or_else(|| Arguments::Words(plain_words(rest))))
}

fn json_or_line(rest: String) -> Result<Arguments, SyntaxError> {
    let json = json_array(&rest)?;
    Ok(json.unwrap_or_else(|| whole_line(rest)))
}

/// The kind of check, then a command in either form.
fn healthcheck(rest: &str) -> Result<Arguments, SyntaxError> {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (kind, command) = rest.split_at(end);
    if kind.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let with_kind = |mut list: Vec<String>| {
        list.insert(0, kind.to_owned());
        list
    };
    Ok(match json_or_line(command.trim_start().to_owned())? {
        Arguments::Json(list) => Arguments::Json(with_kind(list)),
        other => Arguments::Words(with_kind(other.list().to_vec())),
    })
}
