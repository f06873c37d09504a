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
}

/// What several stages ask for, each thing as the first of them has it.
#[derive(Default)]
struct Together<'a> {
    arguments: BTreeMap<&'a str, &'a Declaration>,
    /// What global arguments are made of.
    parts: BTreeSet<&'a str>,
    /// Global arguments that are listed with all that they are made of.
    complete: BTreeSet<&'a str>,
    secrets: BTreeMap<&'a str, MountAsk>,
    agents: BTreeMap<&'a str, MountAsk>,
}

impl<'a> Together<'a> {
    /// Adds what a stage asks for, as far as it is new; `globals` are the arguments of the file.
    fn add(&mut self, asks: &'a Asks, globals: &'a Declared) {
        for (name, ask) in &asks.secrets {
            self.secrets.entry(name).or_insert(*ask);
        }
        for (name, ask) in &asks.agents {
            self.agents.entry(name).or_insert(*ask);
        }
        self.add_arguments(asks, globals);
    }

    /// Adds the arguments that a stage uses, and those that their defaults are made of: its own go
    /// before those of the file.
    ///
    /// What a global argument is made of is the same for all stages but those that declare a part of it
    /// themselves, so the others go through it once for all of them.
    fn add_arguments(&mut self, asks: &'a Asks, globals: &'a Declared) {
        let has_parts = asks
            .declared
            .keys()
            .any(|name| self.parts.contains(&**name));
        let mut seen = BTreeSet::new();
        let mut open: Vec<&'a str> = asks.used.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            let own = asks.declared.get(name);
            let Some(declaration) = own.or_else(|| globals.get(name)) else {
                continue;
            };
            let is_new = match own {
                None if !has_parts => self.complete.insert(name),
                _ => seen.insert(name),
            };
            if is_new {
                self.arguments.entry(name).or_insert(declaration);
                open.extend(declaration.needs.iter().map(String::as_str));
            }
        }
    }
}

impl Converter<'_> {
    /// Returns what `target` can be given.
    pub(super) fn outline(&self, target: StageId) -> Outline {
        let stage = &self.stages[target];
        let needs = self.declared.values().flat_map(|argument| &argument.needs);
        let mut all = Together {
            parts: needs.map(String::as_str).collect(),
            ..Together::default()
        };
        for id in self.stages.nearest_first(target) {
            all.add(&self.stages[id].asks, &self.declared);
        }
        let mut outline = Outline::new(&stage.name, &stage.description, &self.job.file.data);
        outline.args = listed_arguments(&all.arguments);
        outline.secrets = listed_mounts(&all.secrets);
        outline.ssh = listed_mounts(&all.agents);
        outline
    }
}

fn listed_arguments(arguments: &BTreeMap<&str, &Declaration>) -> Vec<OutlineArgument> {
    let mut list: Vec<_> = arguments.iter().collect();
    list.sort_by_key(|(_, argument)| (argument.lines.first, argument.place));
    let listed = |(name, argument): (&&str, &&Declaration)| {
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

fn listed_mounts(asks: &BTreeMap<&str, MountAsk>) -> Vec<OutlineMount> {
    let mut list: Vec<_> = asks.iter().collect();
    list.sort_by_key(|(_, ask)| (ask.lines.first, ask.place));
    let listed = |(name, ask): (&&str, &MountAsk)| OutlineMount::new(name, ask.required, ask.lines);
    list.into_iter().map(listed).collect()
}
