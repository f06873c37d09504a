//! `RUN` (rows DFI-07 to DFI-18).

use crate::instructions::CommandLine;
use crate::instructions::InstructionError;
use crate::instructions::Mount;
use crate::instructions::config::command_line;
use crate::instructions::csv;
use crate::instructions::flags::FlagKind;
use crate::instructions::flags::Flags;
use crate::instructions::mount;
use crate::suggest::Case;
use crate::suggest::Suggestion;
use crate::syntax::Node;

/// A step that runs a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What runs.
    pub command: CommandLine,
    /// Its here-documents.
    pub files: Vec<ShellFile>,
    /// The values of `--mount`, unread.
    pub mount_texts: Vec<String>,
    /// The stage, context or image of each mount; `None` for those without a `from`.
    pub mount_sources: Vec<Option<String>>,
    /// The mounts; filled by [`super::Instruction::expand`], as their fields may hold variables.
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// A device was asked for with `--device`.
    pub has_devices: bool,
}

/// A here-document of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShellFile {
    /// The word that ends it.
    pub name: String,
    /// The lines between.
    pub content: String,
    /// Leading tabs are stripped.
    pub strip_tabs: bool,
}

/// The network of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the values of the flag")]
pub enum Network {
    Default,
    None,
    Host,
}

/// The privileges of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the values of the flag")]
pub enum Security {
    Sandbox,
    Insecure,
}

const RUN_FLAGS: [(&str, FlagKind); 4] = [
    ("mount", FlagKind::List),
    ("network", FlagKind::Value),
    ("security", FlagKind::Value),
    ("device", FlagKind::List),
];

/// Reads `RUN`.
pub(crate) fn parse(node: &Node) -> Result<Run, InstructionError> {
    let flags = Flags::parse(&node.flags, &RUN_FLAGS)?;
    let devices = flags.list("device");
    devices.iter().try_for_each(|text| check_device(text))?;
    let mount_texts = flags.list("mount");
    let sources = mount_texts.iter().map(|text| mount::source_of(text));
    let file = |document: &crate::syntax::Heredoc| ShellFile {
        name: document.name.clone(),
        content: document.content.clone(),
        strip_tabs: document.strip_tabs,
    };
    Ok(Run {
        command: command_line(node),
        files: node.heredocs.iter().map(file).collect(),
        mount_sources: sources.collect::<Result<_, _>>()?,
        mount_texts,
        mounts: Vec::new(),
        network: network(flags.value("network"))?,
        security: security(flags.value("security"))?,
        has_devices: !devices.is_empty(),
    })
}

fn network(mode: Option<&str>) -> Result<Network, InstructionError> {
    match mode {
        None | Some("default") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(mode) => Err(InstructionError::NetworkMode {
            mode: mode.to_owned(),
        }),
    }
}

fn security(mode: Option<&str>) -> Result<Security, InstructionError> {
    match mode {
        None | Some("sandbox") => Ok(Security::Sandbox),
        Some("insecure") => Ok(Security::Insecure),
        Some(mode) => Err(InstructionError::SecurityMode {
            mode: mode.to_owned(),
        }),
    }
}

/// Checks the form of `--device`; the feature itself is refused later, with its line.
fn check_device(text: &str) -> Result<(), InstructionError> {
    let mut name: Option<String> = None;
    for field in csv::fields(text).map_err(InstructionError::DeviceFields)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => {}
            ("required", Some(value)) if mount::parse_bool(value).is_none() => {
                let value = value.to_owned();
                return Err(InstructionError::FieldValue { key, value });
            }
            ("required", Some(_)) => {}
            ("name", Some(value)) => match &name {
                Some(name) => return Err(InstructionError::DeviceName { name: name.clone() }),
                None => name = Some(value.to_owned()),
            },
            _ if name.is_none() => name = Some(field),
            (_, None) => return Err(InstructionError::FieldWithoutValue { field }),
            (_, Some(_)) => {
                let suggestion = Suggestion::nearest(&key, ["name", "required"], Case::Sensitive);
                return Err(InstructionError::UnknownField {
                    key,
                    field,
                    suggestion,
                });
            }
        }
    }
    Ok(())
}
