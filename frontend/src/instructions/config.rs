//! Instructions that only change the image's config.

use crate::instructions::Argument;
use crate::instructions::CommandLine;
use crate::instructions::InstructionError;
use crate::instructions::KeyValue;
use crate::instructions::duration;
use crate::instructions::flags::FlagKind;
use crate::instructions::flags::Flags;
use crate::syntax::Arguments;
use crate::syntax::Node;
use crate::syntax::Pair;

/// `HEALTHCHECK` (row DFI-40). Times are nanoseconds; 0 means the runtime's default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the flags of the same names")]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and the command.
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: i64,
}

const HEALTHCHECK_FLAGS: [(&str, FlagKind); 5] = [
    ("interval", FlagKind::Value),
    ("timeout", FlagKind::Value),
    ("start-period", FlagKind::Value),
    ("start-interval", FlagKind::Value),
    ("retries", FlagKind::Value),
];

/// The shortest time between checks.
const MIN_INTERVAL_NS: i64 = 1_000_000;

pub(crate) fn healthcheck(node: &Node) -> Result<Healthcheck, InstructionError> {
    let Some((kind, command)) = node.arguments.list().split_first() else {
        return Err(InstructionError::NeedsArguments {
            keyword: "HEALTHCHECK",
        });
    };
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        if !command.is_empty() {
            return Err(InstructionError::HealthcheckNone);
        }
        return Ok(Healthcheck {
            test: vec![kind],
            ..Healthcheck::default()
        });
    }
    let flags = Flags::parse(&node.flags, &HEALTHCHECK_FLAGS)?;
    if kind != "CMD" {
        return Err(InstructionError::HealthcheckKind { kind });
    }
    if command.is_empty() {
        return Err(InstructionError::HealthcheckCommand);
    }
    let first = if node.arguments.is_json() {
        "CMD"
    } else {
        "CMD-SHELL"
    };
    let test = std::iter::once(first.to_owned()).chain(command.iter().cloned());
    Ok(Healthcheck {
        test: test.collect(),
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags.text("retries"))?,
    })
}

fn interval(flags: &Flags, flag: &'static str) -> Result<i64, InstructionError> {
    let text = flags.text(flag);
    if text.is_empty() {
        return Ok(0);
    }
    match duration::parse(&text)? {
        0 => Ok(0),
        short if short < MIN_INTERVAL_NS => Err(InstructionError::ShortInterval { flag }),
        long => Ok(long),
    }
}

fn retries(text: &str) -> Result<i64, InstructionError> {
    if text.is_empty() {
        return Ok(0);
    }
    let error = |reason| InstructionError::Retries {
        text: text.to_owned(),
        reason,
    };
    let count: i32 =
        text.parse()
            .map_err(|problem: std::num::ParseIntError| match problem.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    error("value out of range")
                }
                _ => error("invalid syntax"),
            })?;
    let count = i64::from(count);
    if count < 0 {
        return Err(InstructionError::NegativeRetries { count });
    }
    Ok(count)
}

/// Reads a command in either form.
pub(crate) fn command_line(node: &Node) -> CommandLine {
    CommandLine {
        words: node.arguments.list().to_vec(),
        shell: !node.arguments.is_json(),
    }
}

/// Reads `key=value` pairs.
pub(crate) fn key_values(
    node: &Node,
    keyword: &'static str,
) -> Result<Vec<KeyValue>, InstructionError> {
    no_flags(node)?;
    let Arguments::Pairs(pairs) = &node.arguments else {
        return Err(InstructionError::NeedsArguments { keyword });
    };
    if pairs.is_empty() {
        return Err(InstructionError::NeedsArguments { keyword });
    }
    let checked = |pair: &Pair| {
        if pair.key.is_empty() {
            return Err(InstructionError::BlankName { keyword });
        }
        Ok(KeyValue {
            key: pair.key.clone(),
            value: pair.value.clone(),
            legacy: pair.legacy,
        })
    };
    pairs.iter().map(checked).collect()
}

/// Reads `ARG`.
pub(crate) fn build_arguments(node: &Node) -> Result<Vec<Argument>, InstructionError> {
    let words = some_arguments(node, "ARG")?;
    words
        .iter()
        .map(|word| build_argument(word, &node.comments))
        .collect()
}

fn build_argument(word: &str, comments: &[String]) -> Result<Argument, InstructionError> {
    let (name, value) = match word.split_once('=') {
        Some(("", _)) => return Err(InstructionError::BlankName { keyword: "ARG" }),
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    Ok(Argument {
        name: name.to_owned(),
        value,
        description: description(comments, name),
    })
}

/// Returns what a comment says of `name`: the rest of the first one that starts with it.
pub(crate) fn description(comments: &[String], name: &str) -> String {
    let after_name = |line: &String| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        Some(rest.to_owned())
    };
    if name.is_empty() {
        return String::new();
    }
    comments.iter().find_map(after_name).unwrap_or_default()
}

/// Returns the one argument.
pub(crate) fn one_argument(node: &Node, keyword: &'static str) -> Result<String, InstructionError> {
    match node.arguments.list() {
        [one] => Ok(one.clone()),
        _ => Err(InstructionError::NeedsOneArgument { keyword }),
    }
}

/// Returns the arguments, of which there must be some.
pub(crate) fn some_arguments(
    node: &Node,
    keyword: &'static str,
) -> Result<Vec<String>, InstructionError> {
    match node.arguments.list() {
        [] => Err(InstructionError::NeedsArguments { keyword }),
        list => Ok(list.to_vec()),
    }
}

/// Refuses flags.
pub(crate) fn no_flags(node: &Node) -> Result<(), InstructionError> {
    Flags::parse(&node.flags, &[]).map(|_| ())
}
