//! The stages and how they depend on each other (rows DFI-01, FDF-06).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Index;
use std::ops::IndexMut;

use lamina_content::ImageConfig;
use lamina_types::Platform;

use crate::context::NamedContext;
use crate::convert::Converter;
use crate::convert::args::Arguments;
use crate::convert::checks::Tracker;
use crate::convert::outline::Asks;
use crate::convert::state::PathSet;
use crate::convert::state::State;
use crate::error::FrontendError;
use crate::error::Result;
use crate::expand::Lexer;
use crate::instructions::Action;
use crate::instructions::Instruction;
use crate::lines::Lines;
use crate::located::Located;
use crate::suggest::Case;
use crate::suggest::Suggestion;

/// The name of the empty image.
pub(crate) const SCRATCH: &str = "scratch";

/// A stage, by its place in [`Stages`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct StageId(usize);

/// An instruction and the stages that it takes from.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) instruction: Instruction,
    /// For `COPY --from` one, for `RUN` one for each mount.
    pub(crate) sources: Vec<StageId>,
    /// It comes from an `ONBUILD` of the base.
    pub(crate) triggered: bool,
}

/// A stage of the file, or an image that is only copied from.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageState {
    /// Its name in the file; empty if it has none.
    pub(crate) name: String,
    /// Its name in progress and messages; empty if there is only one.
    pub(crate) shown_name: String,
    /// What a comment above its `FROM` says of it.
    pub(crate) description: String,
    /// What it starts from, variables put in.
    pub(crate) base_name: String,
    /// Where its `FROM` is.
    pub(crate) lines: Option<Lines>,
    pub(crate) code: String,
    pub(crate) platform: Option<Platform>,
    /// The value of the option `context:<name>` that replaces the stage.
    pub(crate) named_context: Option<NamedContext>,
    pub(crate) base: Option<StageId>,
    /// The first stage of the chain that it ends; itself if there is none.
    pub(super) root: Option<StageId>,
    pub(crate) dependencies: Vec<(StageId, Lines)>,
    /// The same stages, to be looked up.
    pub(super) depends_on: BTreeSet<StageId>,
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) commands: Vec<Command>,
    pub(crate) state: State,
    pub(crate) image: ImageConfig,
    pub(crate) base_image: Option<ImageConfig>,
    /// What `ARG`s declared, with the values that they have then.
    pub(crate) build_args: Arguments,
    /// What its instructions ask the client for.
    pub(super) asks: Asks,
    /// What it uses of the build context.
    pub(crate) context_paths: PathSet,
    /// What is used of the tree that it starts from; kept by the first stage of a chain.
    pub(crate) used_paths: PathSet,
    pub(crate) ignore_cache: bool,
    /// It is no stage of the file.
    pub(crate) unregistered: bool,
    /// Nothing is left to do for it.
    pub(crate) dispatched: bool,
    pub(crate) resolved: bool,
    pub(crate) triggers_done: bool,
    pub(crate) steps_total: usize,
    pub(crate) steps_done: usize,
    pub(crate) workdir_set: bool,
    pub(crate) cmd: Tracker,
    pub(crate) entrypoint: Tracker,
    pub(crate) healthcheck: Tracker,
}

/// All stages, in the order of the file; images that are copied from behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages {
    list: Vec<StageState>,
    by_name: BTreeMap<String, StageId>,
}

impl Index<StageId> for Stages {
    type Output = StageState;

    fn index(&self, id: StageId) -> &StageState {
        &self.list[id.0]
    }
}

impl IndexMut<StageId> for Stages {
    fn index_mut(&mut self, id: StageId) -> &mut StageState {
        &mut self.list[id.0]
    }
}

impl Stages {
    pub(crate) fn ids(&self) -> impl Iterator<Item = StageId> + use<> {
        (0..self.list.len()).map(StageId)
    }

    /// Returns the last stage of the file.
    pub(crate) fn last(&self) -> StageId {
        StageId(self.list.len().saturating_sub(1))
    }

    /// Adds a stage; it starts from an earlier one if its base has that name.
    pub(crate) fn add(&mut self, mut stage: StageState) -> StageId {
        let id = StageId(self.list.len());
        if stage.named_context.is_none() {
            stage.base = self.by_name.get(&stage.base_name).copied();
            stage.root = stage.base.map(|base| self.root(base));
        }
        if !stage.name.is_empty() {
            self.by_name.insert(stage.name.clone(), id);
        }
        self.list.push(stage);
        id
    }

    fn find(&self, name: &str) -> Option<StageId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// Returns the stage that the client asks for.
    pub(crate) fn find_target(&self, name: &str) -> Result<StageId> {
        let unknown = || FrontendError::UnknownTarget {
            target: name.to_owned(),
            suggestion: Suggestion::nearest(name, self.shown_names(), Case::Sensitive),
        };
        self.find(name).ok_or_else(|| unknown().into())
    }

    /// Returns the names that progress shows.
    pub(crate) fn shown_names(&self) -> impl Iterator<Item = &str> {
        let names = self.list.iter().map(|stage| stage.shown_name.as_str());
        names.filter(|name| !name.is_empty())
    }

    /// Returns the stage called `name`, or a new one for the image of that name.
    fn find_or_image(&mut self, name: &str, lines: Option<Lines>) -> StageId {
        self.find(name).unwrap_or_else(|| {
            self.add(StageState {
                base_name: name.to_owned(),
                lines,
                unregistered: true,
                ..StageState::default()
            })
        })
    }

    /// Returns the stages that `target` needs, itself included.
    pub(crate) fn needed(&self, target: StageId) -> BTreeSet<StageId> {
        self.nearest_first(target).into_iter().collect()
    }

    /// Returns the stages that `target` needs, each behind one that needs it: first the target, then
    /// its base with all that that needs, then what its instructions take from.
    pub(super) fn nearest_first(&self, target: StageId) -> Vec<StageId> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![target];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                order.push(id);
                let sources = self[id].dependencies.iter().map(|(stage, _)| *stage);
                open.extend(sources.rev());
                open.extend(self[id].base);
            }
        }
        order
    }

    /// Returns the first stage of the chain that `id` ends.
    pub(crate) fn root(&self, id: StageId) -> StageId {
        self[id].root.unwrap_or(id)
    }

    /// Returns what is used of the tree that the chain of `id` starts from.
    pub(crate) fn paths(&mut self, id: StageId) -> &mut PathSet {
        let root = self.root(id);
        &mut self[root].used_paths
    }

    /// Returns what all stages use of the build context.
    pub(crate) fn context_paths(&self) -> Vec<String> {
        let mut used = PathSet::default();
        self.list
            .iter()
            .for_each(|stage| used.extend(&stage.context_paths));
        used.to_follow()
    }

    /// Links a command with the stages that it takes from.
    pub(crate) fn command(
        &mut self,
        instruction: Instruction,
        triggered: bool,
        count: usize,
    ) -> Result<Command> {
        let lines = instruction.origin.lines;
        let sources = match &instruction.action {
            Action::Copy(copy) if !copy.from.is_empty() => {
                vec![self.copy_source(&copy.from, lines, count)?]
            }
            Action::Run(run) => {
                let names = run.mount_sources.iter();
                let names = names.map(|name| name.as_deref().unwrap_or(SCRATCH));
                names.map(|name| self.find_or_image(name, None)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Command {
            instruction,
            sources,
            triggered,
        })
    }

    /// Finds what `COPY --from` means: a stage by name or number, or an image.
    fn copy_source(&mut self, from: &str, lines: Lines, count: usize) -> Result<StageId> {
        let text = Lexer::new('\\')
            .expand(from, &crate::env::Env::default())
            .text?;
        if text != from {
            return Err(FrontendError::VariableInFrom.into());
        }
        let Ok(index) = from.parse::<i64>() else {
            return Ok(self.find_or_image(from, Some(lines)));
        };
        match usize::try_from(index) {
            Ok(place) if place < count => Ok(StageId(place)),
            _ => Err(FrontendError::StageIndex { index }.into()),
        }
    }

    /// Refuses stages that need themselves.
    fn check_circles(&self, count: usize) -> Result<()> {
        let mut visited = BTreeSet::new();
        for id in (0..count).map(StageId) {
            if let Some(lines) = self.find_circle(id, &mut visited) {
                let mut error = Located::nowhere(FrontendError::Circular {
                    stage: self[id].shown_name.clone(),
                });
                for lines in lines {
                    error = error.also_at(lines);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the lines that lead from `start` into a circle, if there is one among the stages that
    /// were not visited. Chains may be as long as the file, so the walk has a stack of its own.
    fn find_circle(&self, start: StageId, visited: &mut BTreeSet<StageId>) -> Option<Vec<Lines>> {
        if !visited.insert(start) {
            return None;
        }
        // Stages, the next dependency of each, and the lines that led on from it.
        let mut path: Vec<(StageId, usize, Option<Lines>)> = vec![(start, 0, None)];
        let mut on_path = BTreeSet::from([start]);
        while let Some((id, next, led)) = path.last_mut() {
            let Some(&(stage, lines)) = self[*id].dependencies.get(*next) else {
                on_path.remove(id);
                path.pop();
                continue;
            };
            *next += 1;
            *led = Some(lines);
            if on_path.contains(&stage) {
                return Some(path.iter().filter_map(|(_, _, led)| *led).collect());
            }
            if visited.insert(stage) {
                on_path.insert(stage);
                path.push((stage, 0, None));
            }
        }
        None
    }
}

impl Converter<'_> {
    /// Links every command with its stages.
    pub(super) fn link_stages(&mut self) -> Result<()> {
        let count = self.stages.list.len();
        for id in (0..count).map(StageId) {
            for instruction in std::mem::take(&mut self.stages[id].instructions) {
                let known = self.stages.list.len();
                let command = self.stages.command(instruction, false, known)?;
                self.stages.depend(id, &command);
                self.stages[id].commands.push(command);
            }
        }
        self.stages.check_circles(self.stages.list.len())?;
        if self.stages.list.len() == 1 {
            self.stages.list[0].shown_name.clear();
        }
        Ok(())
    }

    /// Returns how many stages and images there are so far.
    pub(super) fn stage_count(&self) -> usize {
        self.stages.list.len()
    }

    /// Adds the stage's lines to an error.
    pub(super) fn at_stage<T>(&self, id: StageId, result: Result<T>) -> Result<T> {
        result.map_err(|error| match self.stages[id].lines {
            Some(lines) => error.also_at(lines),
            None => error,
        })
    }
}

impl Stages {
    /// Notes that `id` needs what `command` takes from.
    pub(crate) fn depend(&mut self, id: StageId, command: &Command) {
        let lines = command.instruction.origin.lines;
        for &source in &command.sources {
            let stage = &mut self[id];
            if stage.depends_on.insert(source) {
                stage.dependencies.push((source, lines));
            }
        }
    }
}

/// Puts `lines` on an error that has no place yet.
pub(super) fn at_lines<T>(result: Result<T>, lines: Option<Lines>) -> Result<T> {
    match lines {
        Some(lines) => result.map_err(|error| error.also_at(lines)),
        None => result,
    }
}
