//! What the target can be given, noted on the way through the file (row FDF-28).
//!
//! Every stage keeps what its instructions ask for in [`Asks`]. [`Converter::outline`] puts together
//! those of the target and of all stages that it needs; what several ask for is listed once, where
//! the stage nearest to the target has it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::convert::Converter;
use crate::convert::mounts::secret_id;
use crate::convert::stages::StageId;
use crate::instructions::Argument;
use crate::instructions::Mount;
use crate::instructions::MountKind;
use crate::lines::Lines;
use crate::subrequest::Outline;
use crate::subrequest::OutlineArgument;
use crate::subrequest::OutlineMount;

/// The name of the agent that `RUN --mount=type=ssh` without an id asks for.
const DEFAULT_AGENT: &str = "default";

/// Declared arguments by name.
pub(super) type Declared = BTreeMap<String, Declaration>;

/// An `ARG`.
#[derive(Clone, Debug)]
pub(super) struct Declaration {
    pub(super) value: String,
    pub(super) description: String,
    pub(super) lines: Lines,
    /// Its place on the line.
    pub(super) place: usize,
    /// Arguments that its default is made of.
    pub(super) needs: BTreeSet<String>,
}

/// What a stage asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    /// Arguments that it declares itself.
    declared: Declared,
    /// Arguments that it uses.
    used: BTreeSet<String>,
    secrets: BTreeMap<String, MountAsk>,
    agents: BTreeMap<String, MountAsk>,
}

/// The first mount that asks for a secret or an agent.
#[derive(Clone, Copy, Debug)]
struct MountAsk {
    required: bool,
    lines: Lines,
    /// How many were asked for before.
    place: usize,
}

impl Asks {
    /// Notes that the stage's `FROM` uses arguments.
    pub(super) fn uses(&mut self, names: impl IntoIterator<Item = String>) {
        self.used.extend(names);
    }

    /// Notes an `ARG`; one that only brings a global argument in is declared there.
    pub(super) fn argument(
        &mut self,
        argument: &Argument,
        place: usize,
        lines: Lines,
        global: bool,
    ) {
        self.used.insert(argument.name.clone());
        if global {
            return;
        }
        let declaration = Declaration {
            value: argument.value.clone().unwrap_or_default(),
            description: argument.description.clone(),
            lines,
            place,
            needs: BTreeSet::new(),
        };
        self.declared.insert(argument.name.clone(), declaration);
    }

    /// Notes the mounts of a `RUN`.
    pub(super) fn mounts(&mut self, mounts: &[Mount], lines: Lines) {
        for mount in mounts {
            let (list, name) = match mount.kind {
                MountKind::Secret => (&mut self.secrets, secret_id(mount)),
                MountKind::Ssh if mount.id.is_empty() => {
                    (&mut self.agents, DEFAULT_AGENT.to_owned())
                }
                MountKind::Ssh => (&mut self.agents, mount.id.clone()),
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => continue,
            };
            let ask = MountAsk {
                required: mount.required,
                lines,
                place: list.len(),
            };
            list.entry(name).or_insert(ask);
        }
    }

    /// Adds what another stage asks for, as far as it is new.
    fn add(&mut self, other: &Self) {
        for (name, ask) in &other.secrets {
            self.secrets.entry(name.clone()).or_insert(*ask);
        }
        for (name, ask) in &other.agents {
            self.agents.entry(name.clone()).or_insert(*ask);
        }
    }
}

impl Converter<'_> {
    /// Returns what `target` can be given.
    pub(super) fn outline(&self, target: StageId) -> Outline {
        let stage = &self.stages[target];
        let mut all = Asks::default();
        let mut arguments = Declared::new();
        for id in self.stages.nearest_first(target) {
            let asks = &self.stages[id].asks;
            all.add(asks);
            for (name, declaration) in self.declarations(asks) {
                arguments.entry(name.to_owned()).or_insert(declaration);
            }
        }
        let mut outline = Outline::new(&stage.name, &stage.description, &self.job.file.data);
        outline.args = listed_arguments(&arguments);
        outline.secrets = listed_mounts(&all.secrets);
        outline.ssh = listed_mounts(&all.agents);
        outline
    }

    /// Returns the arguments that a stage uses, and those that their defaults are made of.
    fn declarations<'a>(&'a self, asks: &'a Asks) -> BTreeMap<&'a str, Declaration> {
        let mut found = BTreeMap::new();
        let mut open: Vec<&str> = asks.used.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            let own = asks.declared.get(name);
            let Some(declaration) = own.or_else(|| self.declared.get(name)) else {
                continue;
            };
            if found.insert(name, declaration.clone()).is_none() {
                open.extend(declaration.needs.iter().map(String::as_str));
            }
        }
        found
    }
}

fn listed_arguments(arguments: &Declared) -> Vec<OutlineArgument> {
    let mut list: Vec<_> = arguments.iter().collect();
    list.sort_by_key(|(_, argument)| (argument.lines.first, argument.place));
    let listed = |(name, argument): (&String, &Declaration)| {
        let Declaration {
            value,
            description,
            lines,
            ..
        } = argument;
        OutlineArgument::new(name, value, description, *lines)
    };
    list.into_iter().map(listed).collect()
}

fn listed_mounts(asks: &BTreeMap<String, MountAsk>) -> Vec<OutlineMount> {
    let mut list: Vec<_> = asks.iter().collect();
    list.sort_by_key(|(_, ask)| (ask.lines.first, ask.place));
    let listed =
        |(name, ask): (&String, &MountAsk)| OutlineMount::new(name, ask.required, ask.lines);
    list.into_iter().map(listed).collect()
}
