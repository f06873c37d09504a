//! One node to one instruction. This is the only place that knows the names of instructions.

use crate::instructions::Action;
use crate::instructions::Instruction;
use crate::instructions::InstructionError;
use crate::instructions::Origin;
use crate::instructions::config;
use crate::instructions::copy;
use crate::instructions::run;
use crate::suggest::Case;
use crate::suggest::Suggestion;
use crate::syntax::Arguments;
use crate::syntax::Node;

const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a node as an instruction of a stage.
///
/// # Errors
/// If there is no such instruction, it is a `FROM`, or its flags or arguments are wrong.
pub fn parse_node(node: &Node) -> Result<Instruction, InstructionError> {
    Ok(Instruction {
        action: action(node)?,
        origin: origin(node),
    })
}

/// Returns where a node comes from.
pub(crate) fn origin(node: &Node) -> Origin {
    Origin {
        keyword: node.keyword.clone(),
        code: node.original.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
    }
}

fn action(node: &Node) -> Result<Action, InstructionError> {
    match node.keyword.to_lowercase().as_str() {
        "add" => copy::parse_add(node).map(Action::Add),
        "arg" => config::build_arguments(node).map(Action::Arg),
        "cmd" => config::no_flags(node).map(|()| Action::Cmd(config::command_line(node))),
        "copy" => copy::parse_copy(node).map(Action::Copy),
        "entrypoint" => {
            config::no_flags(node).map(|()| Action::Entrypoint(config::command_line(node)))
        }
        "env" => config::key_values(node, "ENV").map(Action::Env),
        "expose" => expose(node),
        "from" => Err(InstructionError::NotACommand {
            keyword: node.keyword.clone(),
        }),
        "healthcheck" => config::healthcheck(node).map(Action::Healthcheck),
        "label" => config::key_values(node, "LABEL").map(Action::Label),
        "maintainer" => text(node, "MAINTAINER").map(Action::Maintainer),
        "onbuild" => onbuild(node),
        "run" => run::parse(node).map(Box::new).map(Action::Run),
        "shell" => shell(node),
        "stopsignal" => config::one_argument(node, "STOPSIGNAL").map(Action::StopSignal),
        "user" => text(node, "USER").map(Action::User),
        "volume" => volume(node),
        "workdir" => text(node, "WORKDIR").map(Action::Workdir),
        _ => Err(unknown(&node.keyword)),
    }
}

fn unknown(keyword: &str) -> InstructionError {
    InstructionError::UnknownInstruction {
        keyword: keyword.to_owned(),
        suggestion: Suggestion::nearest(keyword, KEYWORDS, Case::Insensitive),
    }
}

fn text(node: &Node, keyword: &'static str) -> Result<String, InstructionError> {
    let text = config::one_argument(node, keyword)?;
    config::no_flags(node)?;
    Ok(text)
}

fn expose(node: &Node) -> Result<Action, InstructionError> {
    let mut ports = config::some_arguments(node, "EXPOSE")?;
    config::no_flags(node)?;
    ports.sort();
    Ok(Action::Expose(ports))
}

fn shell(node: &Node) -> Result<Action, InstructionError> {
    config::no_flags(node)?;
    let words = config::some_arguments(node, "SHELL")?;
    if node.arguments.is_json() {
        Ok(Action::Shell(words))
    } else {
        Err(InstructionError::NeedsJson { keyword: "SHELL" })
    }
}

fn volume(node: &Node) -> Result<Action, InstructionError> {
    let words = config::some_arguments(node, "VOLUME")?;
    config::no_flags(node)?;
    let trimmed = words.iter().map(|word| match word.trim() {
        "" => Err(InstructionError::EmptyVolume),
        word => Ok(word.to_owned()),
    });
    trimmed.collect::<Result<_, _>>().map(Action::Volume)
}

/// Keeps the trigger as text, since it is read again in the stage that it runs in.
fn onbuild(node: &Node) -> Result<Action, InstructionError> {
    let Arguments::Trigger(trigger) = &node.arguments else {
        return Err(InstructionError::NeedsArguments { keyword: "ONBUILD" });
    };
    config::no_flags(node)?;
    let keyword = trigger.keyword.trim().to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return Err(InstructionError::ChainedTrigger),
        "MAINTAINER" | "FROM" => return Err(InstructionError::ForbiddenTrigger { keyword }),
        _ => {}
    }
    let code = node.original.trim_start();
    let mut text = code
        .get("ONBUILD".len()..)
        .unwrap_or_default()
        .trim_start()
        .to_owned();
    for document in &node.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Ok(Action::Onbuild(text))
}
