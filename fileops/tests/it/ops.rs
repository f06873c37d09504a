//! Runs the op graphs of the golden data: as much of a build as they need.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::MkDirAction;
use lamina_fileops::MkFileAction;
use lamina_fileops::Owner;
use lamina_fileops::RmAction;
use lamina_fileops::SymlinkAction;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_fileops::content_selections;
use lamina_proto::pb;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Selection;
use lamina_testkit::namespace;
use lamina_testkit::namespace::Ids;
use lamina_types::CancelToken;
use prost::Message;

use crate::devices;
use crate::machine::Machine;

type Outcome = Result<Vec<LayerStack>, String>;

/// All ops by the beginning of their digests, each run once however many cases use it.
pub(crate) struct Ops {
    machine: Machine,
    ops: HashMap<String, pb::Op>,
    done: Mutex<HashMap<String, Arc<OnceLock<Outcome>>>>,
}

impl Ops {
    pub(crate) fn new(machine: Machine, ops: HashMap<String, Vec<u8>>) -> Self {
        let decode = |bytes: Vec<u8>| {
            let mut op = pb::Op::decode(&bytes[..]).expect("an op");
            if namespace::inside() == Some(Ids::All) {
                devices::replace_in_op(&mut op);
            }
            op
        };
        Self {
            machine,
            ops: ops
                .into_iter()
                .map(|(digest, op)| (digest, decode(op)))
                .collect(),
            done: Mutex::default(),
        }
    }

    /// Returns the tree of the terminal vertex `digest`, which names its only input.
    pub(crate) fn solve(&self, digest: &str) -> Result<LayerStack, String> {
        let terminal = self.ops.get(digest).ok_or("no such op")?;
        let input = terminal.inputs.first().ok_or("nothing to solve")?;
        self.input(input)
    }

    fn input(&self, input: &pb::Input) -> Result<LayerStack, String> {
        let digest = input.digest.trim_start_matches("sha256:");
        let digest = &digest[..16];
        let slot = {
            let mut done = self.done.lock().expect("not poisoned");
            Arc::clone(done.entry(digest.to_owned()).or_default())
        };
        let outputs = slot.get_or_init(|| self.run(&self.ops[digest])).clone()?;
        let index = usize::try_from(input.index).map_err(|error| error.to_string())?;
        outputs
            .get(index)
            .cloned()
            .ok_or_else(|| "no such output".to_owned())
    }

    fn run(&self, op: &pb::Op) -> Outcome {
        let inputs = op.inputs.iter().map(|input| self.input(input));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let cancel = CancelToken::new();
        let store = &self.machine.store;
        let at = |index: i64| -> LayerStack {
            let index = usize::try_from(index).ok();
            index
                .and_then(|index| inputs.get(index))
                .cloned()
                .unwrap_or_default()
        };
        match op.op.as_ref().ok_or("no op")? {
            pb::op::Op::File(file) => FileRun::new(&self.machine, &inputs, &file.actions).run(),
            pb::op::Op::Merge(merge) => {
                let stacks: Vec<_> = merge.inputs.iter().map(|input| at(input.input)).collect();
                one(store.merge(&stacks, &cancel))
            }
            pb::op::Op::Diff(diff) => {
                let lower = at(diff.lower.as_ref().map_or(-1, |lower| lower.input));
                let upper = at(diff.upper.as_ref().map_or(-1, |upper| upper.input));
                one(store.diff(&lower, &upper, &cancel))
            }
            _ => Err("not an op of these goldens".to_owned()),
        }
    }
}

fn one<E: std::fmt::Display>(stack: Result<LayerStack, E>) -> Outcome {
    stack
        .map(|stack| vec![stack])
        .map_err(|error| error.to_string())
}

/// One File op: results of actions are committed when more than one action needs them.
struct FileRun<'a> {
    machine: &'a Machine,
    inputs: &'a [LayerStack],
    actions: &'a [pb::FileAction],
    active: HashMap<usize, ActiveLayer>,
    sealed: HashMap<usize, LayerStack>,
}

impl<'a> FileRun<'a> {
    fn new(machine: &'a Machine, inputs: &'a [LayerStack], actions: &'a [pb::FileAction]) -> Self {
        Self {
            machine,
            inputs,
            actions,
            active: HashMap::new(),
            sealed: HashMap::new(),
        }
    }

    fn run(mut self) -> Outcome {
        self.check_inputs()?;
        let (needed, mut outputs) = (self.needed(), HashMap::new());
        for (index, action) in self.actions.iter().enumerate() {
            if !needed.contains(&index) {
                continue;
            }
            let result = self.inputs.len() + index;
            let layer = self.primary(action)?;
            let converted = self.convert(action)?;
            let source = match action.secondary_input {
                -1 => None,
                at => Some(self.stack(at)?.tree()),
            };
            apply(&converted, &layer, source.as_ref(), &CancelToken::new())
                .map_err(|error| error.to_string())?;
            self.active.insert(result, layer);
            if let Ok(output) = usize::try_from(action.output) {
                outputs.insert(output, self.stack(result as i64)?);
            }
        }
        (0..outputs.len())
            .map(|index| {
                outputs
                    .get(&index)
                    .cloned()
                    .ok_or_else(|| "outputs not dense".to_owned())
            })
            .collect()
    }

    /// Reads what actions read of inputs, as computing the cache key does before anything runs.
    fn check_inputs(&mut self) -> Result<(), String> {
        let written: HashSet<i64> = self.actions.iter().map(|action| action.input).collect();
        for action in self.actions {
            let owner = owner_of(action);
            let named = |user: Option<&pb::UserOpt>| match user?.user.as_ref()? {
                pb::user_opt::User::ByName(named) => Some(named.input),
                pb::user_opt::User::ById(_) => None,
            };
            let user = named(owner.and_then(|owner| owner.user.as_ref()));
            let group = named(owner.and_then(|owner| owner.group.as_ref()));
            let is_input = |at: i64| (0..self.inputs.len() as i64).contains(&at);
            if [user, group].into_iter().flatten().any(|at| !is_input(at)) {
                continue;
            }
            let selections = content_selections(&self.convert(action)?);
            for (at, selection) in [
                (Some(action.secondary_input), selections.source),
                (user, selections.user),
                (group, selections.group),
            ] {
                if let (Some(at), Some(selection)) = (at, selection)
                    && is_input(at)
                    && !written.contains(&at)
                {
                    check(&self.inputs[at as usize], &selection)?;
                }
            }
        }
        Ok(())
    }

    /// Says which actions lead to an output: no others are run.
    fn needed(&self) -> HashSet<usize> {
        let mut needed = HashSet::new();
        let is_output = |at: &usize| self.actions[*at].output >= 0;
        let mut left: Vec<usize> = (0..self.actions.len()).filter(is_output).collect();
        while let Some(at) = left.pop() {
            if needed.insert(at) {
                let action = &self.actions[at];
                let used = [action.input, action.secondary_input].into_iter();
                left.extend(used.filter_map(|index| {
                    usize::try_from(index).ok()?.checked_sub(self.inputs.len())
                }));
            }
        }
        needed
    }

    fn primary(&mut self, action: &pb::FileAction) -> Result<ActiveLayer, String> {
        let uses = |other: &pb::FileAction| {
            let indices = [other.input, other.secondary_input].into_iter();
            indices.filter(|index| *index == action.input).count()
        };
        let used: usize = self.actions.iter().map(uses).sum();
        let index = usize::try_from(action.input).ok();
        if used == 1
            && let Some(layer) = index.and_then(|index| self.active.remove(&index))
        {
            return Ok(layer);
        }
        let lower = match action.input {
            -1 => LayerStack::empty(),
            at => self.stack(at)?,
        };
        Ok(self.machine.on(&lower))
    }

    fn stack(&mut self, index: i64) -> Result<LayerStack, String> {
        let index = usize::try_from(index).map_err(|error| error.to_string())?;
        if let Some(input) = self.inputs.get(index) {
            return Ok(input.clone());
        }
        if let Some(layer) = self.active.remove(&index) {
            let sealed = self.machine.seal(layer);
            self.sealed.insert(index, sealed);
        }
        self.sealed
            .get(&index)
            .cloned()
            .ok_or_else(|| format!("no input {index}"))
    }

    fn convert(&mut self, action: &pb::FileAction) -> Result<Action, String> {
        use pb::file_action::Action as Wire;
        Ok(match action.action.as_ref().ok_or("no action")? {
            Wire::Copy(copy) => copy_action(copy, self.owner(copy.owner.as_ref())?),
            Wire::Mkfile(mkfile) => Action::MkFile(MkFileAction {
                path: mkfile.path.clone().into(),
                mode: mkfile.mode as u32,
                data: mkfile.data.clone(),
                owner: self.owner(mkfile.owner.as_ref())?,
                timestamp: time(mkfile.timestamp),
            }),
            Wire::Mkdir(mkdir) => Action::MkDir(MkDirAction {
                path: mkdir.path.clone().into(),
                mode: mkdir.mode as u32,
                make_parents: mkdir.make_parents,
                owner: self.owner(mkdir.owner.as_ref())?,
                timestamp: time(mkdir.timestamp),
            }),
            Wire::Rm(rm) => Action::Rm(RmAction {
                path: rm.path.clone().into(),
                allow_not_found: rm.allow_not_found,
                allow_wildcard: rm.allow_wildcard,
            }),
            Wire::Symlink(symlink) => Action::Symlink(SymlinkAction {
                target: symlink.oldpath.clone().into(),
                path: symlink.newpath.clone().into(),
                owner: self.owner(symlink.owner.as_ref())?,
                timestamp: time(symlink.timestamp),
            }),
        })
    }

    fn owner(&mut self, owner: Option<&pb::ChownOpt>) -> Result<Option<Owner>, String> {
        let Some(owner) = owner else {
            return Ok(None);
        };
        Ok(Some(Owner {
            user: self.user(owner.user.as_ref())?,
            group: self.user(owner.group.as_ref())?,
        }))
    }

    fn user(&mut self, user: Option<&pb::UserOpt>) -> Result<Option<UserRef>, String> {
        Ok(match user.and_then(|user| user.user.as_ref()) {
            None => None,
            Some(pb::user_opt::User::ById(id)) => Some(UserRef::Id(*id)),
            Some(pb::user_opt::User::ByName(named)) => Some(UserRef::Name {
                name: named.name.clone(),
                tree: self.stack(named.input)?.tree(),
            }),
        })
    }
}

/// Reads what is selected.
fn check(stack: &LayerStack, selection: &Selection) -> Result<(), String> {
    let digest = stack.digest(selection, &CancelToken::new()).map(drop);
    digest.map_err(|error| format!("failed to compute cache key: {error}"))
}

fn owner_of(action: &pb::FileAction) -> Option<&pb::ChownOpt> {
    use pb::file_action::Action as Wire;
    match action.action.as_ref()? {
        Wire::Copy(copy) => copy.owner.as_ref(),
        Wire::Mkfile(mkfile) => mkfile.owner.as_ref(),
        Wire::Mkdir(mkdir) => mkdir.owner.as_ref(),
        Wire::Symlink(symlink) => symlink.owner.as_ref(),
        Wire::Rm(_) => None,
    }
}

fn copy_action(copy: &pb::FileActionCopy, owner: Option<Owner>) -> Action {
    Action::Copy(CopyAction {
        source: copy.src.clone().into(),
        destination: copy.dest.clone().into(),
        owner,
        mode: match (copy.mode_str.as_str(), copy.mode) {
            ("", -1) => CopyMode::Keep,
            ("", bits) => CopyMode::Bits(bits as u32),
            (text, _) => CopyMode::Symbolic(text.to_owned()),
        },
        timestamp: time(copy.timestamp),
        follow_symlink: copy.follow_symlink,
        directory_contents: copy.dir_copy_contents,
        unpack_archives: copy.attempt_unpack_docker_compatibility,
        create_parents: copy.create_dest_path,
        allow_wildcard: copy.allow_wildcard,
        allow_empty_wildcard: copy.allow_empty_wildcard,
        replace_existing: copy.always_replace_existing_dest_paths,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    })
}

fn time(timestamp: i64) -> Option<i64> {
    (timestamp != -1).then_some(timestamp)
}
