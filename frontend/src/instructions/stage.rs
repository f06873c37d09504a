//! Stages: a `FROM` and what follows it (rows DFI-01, DFI-03).

use crate::instructions::Action;
use crate::instructions::Argument;
use crate::instructions::Instruction;
use crate::instructions::InstructionError;
use crate::instructions::Origin;
use crate::instructions::config::description;
use crate::instructions::flags::FlagKind;
use crate::instructions::flags::Flags;
use crate::instructions::parse::origin;
use crate::instructions::parse_node;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::lint::Rule;
use crate::located::Located;
use crate::syntax::Dockerfile;
use crate::syntax::Node;

/// A stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Its name in lower case; empty if it has none.
    pub name: String,
    /// What it starts from, variables still in it.
    pub base: String,
    /// `--platform`, variables still in it; empty if not given.
    pub platform: String,
    /// Where its `FROM` is.
    pub origin: Origin,
    /// What a comment above says of it.
    pub description: String,
    /// What it does.
    pub instructions: Vec<Instruction>,
}

/// A Dockerfile's typed parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileParts {
    /// `ARG`s before the first `FROM`, with their lines.
    pub global_arguments: Vec<(Vec<Argument>, Lines)>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// Says which line of the file an error is on, as clients expect of a wrong instruction.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The instruction itself is wrong.
    #[error("dockerfile parse error on line {line}: {source}")]
    Instruction {
        /// Its first line.
        line: u32,
        /// What is wrong.
        source: InstructionError,
    },
    /// The instruction is in the wrong place.
    #[error(transparent)]
    Place(InstructionError),
}

/// Reads all nodes and groups them into stages.
///
/// # Errors
/// At the first instruction that is wrong.
pub fn stages(file: &Dockerfile, linter: &Linter) -> Result<FileParts, Located<StageError>> {
    let mut parts = FileParts::default();
    for node in &file.nodes {
        add(&mut parts, node, &linter.with_comments(&node.comments))?;
    }
    Ok(parts)
}

fn add(parts: &mut FileParts, node: &Node, linter: &Linter) -> Result<(), Located<StageError>> {
    let wrong = |source| {
        let line = node.lines.first;
        Located::at(StageError::Instruction { line, source }, node.lines)
    };
    if node.keyword.eq_ignore_ascii_case("from") {
        lint_from(node, linter);
        let stage = from(node).map_err(wrong)?;
        lint_description(node, "FROM", &[&stage.name], linter);
        parts.stages.push(stage);
        return Ok(());
    }
    if node.keyword.eq_ignore_ascii_case("maintainer") {
        linter.report(Rule::MaintainerDeprecated, node.lines);
    }
    let instruction = parse_node(node).map_err(wrong)?;
    if let Action::Arg(arguments) = &instruction.action {
        let names: Vec<&str> = arguments
            .iter()
            .map(|argument| argument.name.as_str())
            .collect();
        lint_description(node, "ARG", &names, linter);
    }
    match (parts.stages.last_mut(), instruction.action) {
        (Some(stage), action) => stage.instructions.push(Instruction {
            origin: instruction.origin,
            action,
        }),
        (None, Action::Arg(arguments)) => parts.global_arguments.push((arguments, node.lines)),
        (None, _) => {
            return Err(Located::at(
                StageError::Place(InstructionError::NoStage),
                node.lines,
            ));
        }
    }
    Ok(())
}

fn from(node: &Node) -> Result<Stage, InstructionError> {
    let (base, name) = match node.arguments.list() {
        [base] => (base, String::new()),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, stage_name(name)?),
        _ => return Err(InstructionError::FromArguments),
    };
    let flags = Flags::parse(&node.flags, &[("platform", FlagKind::Value)])?;
    Ok(Stage {
        description: description(&node.comments, &name),
        name,
        base: base.clone(),
        platform: flags.text("platform"),
        origin: origin(node),
        instructions: Vec::new(),
    })
}

fn stage_name(name: &str) -> Result<String, InstructionError> {
    let lower = name.to_lowercase();
    let starts_well = lower.starts_with(|ch: char| ch.is_ascii_lowercase());
    let allowed =
        |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || matches!(ch, '-' | '_' | '.');
    if starts_well && lower.chars().all(allowed) {
        return Ok(lower);
    }
    Err(InstructionError::StageName {
        name: name.to_owned(),
    })
}

fn lint_from(node: &Node, linter: &Linter) {
    let [_, keyword, rest @ ..] = node.arguments.list() else {
        return;
    };
    let [name, more @ ..] = rest else { return };
    if more.is_empty() && *name != name.to_lowercase() {
        linter.report(Rule::StageNameCasing { name }, node.lines);
    }
    let from = node.keyword.as_str();
    let matches = if from == from.to_lowercase() {
        *keyword == keyword.to_lowercase()
    } else if from == from.to_uppercase() {
        *keyword == keyword.to_uppercase()
    } else {
        true
    };
    if !matches {
        linter.report(Rule::FromAsCasing { from, keyword }, node.lines);
    }
}

fn lint_description(node: &Node, instruction: &'static str, names: &[&str], linter: &Linter) {
    let (Some(comment), Some(first)) = (node.comments.last(), names.first()) else {
        return;
    };
    let word = comment.split(' ').next().unwrap_or_default();
    if first.is_empty() || names.contains(&word) {
        return;
    }
    let name = if names.len() > 1 { "<arg_key>" } else { first };
    linter.report(
        Rule::InvalidDefinitionDescription { instruction, name },
        node.lines,
    );
}
