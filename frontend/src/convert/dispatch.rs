//! Running the instructions of the needed stages, in the order of the file.

use std::collections::BTreeSet;

use crate::convert::Converter;
use crate::convert::at;
use crate::convert::checks;
use crate::convert::copy::CopyJob;
use crate::convert::stages::Command;
use crate::convert::stages::StageId;
use crate::convert::stages::at_lines;
use crate::error::Result;
use crate::expand::Lexer;
use crate::ignore::IgnoreFile;
use crate::instructions::Action;
use crate::instructions::Instruction;
use crate::instructions::InstructionError;
use crate::lint::Linter;

impl Converter<'_> {
    /// Runs all needed stages, or all there are; `ignore` is the ignore file of the build context.
    pub(super) fn dispatch_stages(
        &mut self,
        needed: &BTreeSet<StageId>,
        target: StageId,
        ignore: &IgnoreFile,
    ) -> Result<()> {
        for id in self.stages.ids() {
            let is_due = needed.contains(&id) && !self.stages[id].dispatched;
            if is_due || self.job.all_stages {
                self.dispatch_stage(id, ignore)?;
            }
        }
        self.stages.paths(target).add("/");
        Ok(())
    }

    fn dispatch_stage(&mut self, id: StageId, ignore: &IgnoreFile) -> Result<()> {
        self.inherit(id)?;
        self.stages[id].dispatched = true;
        let start = self.start_stage(id);
        self.at_stage(id, start)?;
        for command in std::mem::take(&mut self.stages[id].commands) {
            let lines = command.instruction.origin.lines;
            let result = self.dispatch(id, command, ignore);
            result.map_err(|error| error.also_at(lines))?;
            at(self.check_effort(), lines)?;
        }
        Ok(())
    }

    /// Takes over what the base stage has come to.
    ///
    /// # Errors
    /// If that is too much.
    pub(super) fn inherit(&mut self, id: StageId) -> Result<()> {
        let Some(base) = self.stages[id].base else {
            return Ok(());
        };
        self.spend(self.stages[base].inherited_bytes());
        at_lines(
            self.check_effort().map_err(Into::into),
            self.stages[id].lines,
        )?;
        let base = &self.stages[base];
        let (state, image) = (base.state.clone(), base.image.clone());
        let (platform, base_image) = (base.platform.clone(), base.base_image.clone());
        let (workdir_set, build_args) = (base.workdir_set, base.build_args.clone());
        let stage = &mut self.stages[id];
        stage.state = state;
        stage.platform = platform;
        stage.image = image;
        stage.image.config.on_build.clear();
        stage.base_image = base_image;
        stage.workdir_set = workdir_set;
        stage.build_args = build_args;
        Ok(())
    }

    /// Sets the state from the config that the stage starts with.
    fn start_stage(&mut self, id: StageId) -> Result<()> {
        let target = self.platforms.target.clone();
        let platform = self.stages[id].platform.get_or_insert(target);
        let default_path = crate::paths::System::of(&platform.os).default_path();
        let hostname = self.job.options.hostname.clone();
        let stage = &mut self.stages[id];
        let has_path = stage
            .image
            .config
            .env
            .iter()
            .any(|line| line.starts_with("PATH="));
        if let Some(path) = default_path.filter(|_| !has_path) {
            stage.image.config.env.push(format!("PATH={path}"));
        }
        for line in &stage.image.config.env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            stage.state.env.set(name, value);
        }
        if !hostname.is_empty() {
            stage.state.hostname = hostname;
        }
        let (dir, user) = (
            stage.image.config.working_dir.clone(),
            stage.image.config.user.clone(),
        );
        if !dir.is_empty() {
            self.set_workdir(id, &dir)?;
        }
        if !user.is_empty() {
            self.set_user(id, user);
        }
        Ok(())
    }

    fn dispatch(&mut self, id: StageId, command: Command, ignore: &IgnoreFile) -> Result<()> {
        let Command {
            mut instruction,
            sources,
            triggered,
        } = command;
        let linter = &self.linter.with_comments(&instruction.origin.comments);
        self.expand(id, &mut instruction, linter)?;
        let Instruction { origin, action } = instruction;
        match action {
            Action::Arg(arguments) => self.dispatch_arg(id, &origin, arguments, linter)?,
            Action::Cmd(command) => self.dispatch_cmd(id, &origin, command, linter),
            Action::Entrypoint(command) => self.dispatch_entrypoint(id, &origin, command, linter),
            Action::Env(pairs) => self.dispatch_env(id, &origin, &pairs, linter),
            Action::Expose(ports) => self.dispatch_expose(id, &ports, origin.lines, linter)?,
            Action::Healthcheck(check) => self.dispatch_healthcheck(id, &origin, check, linter),
            Action::Label(pairs) => self.dispatch_label(id, &origin, &pairs, linter),
            Action::Maintainer(maintainer) => self.dispatch_maintainer(id, maintainer),
            Action::Onbuild(text) => self.stages[id].image.config.on_build.push(text),
            Action::Shell(shell) => self.dispatch_shell(id, shell),
            Action::StopSignal(signal) => self.dispatch_stop_signal(id, signal)?,
            Action::User(user) => self.dispatch_user(id, user),
            Action::Volume(volumes) => self.dispatch_volume(id, &volumes)?,
            Action::Workdir(path) => {
                self.dispatch_workdir(id, &origin, &path, linter, triggered)?;
            }
            Action::Run(run) => self.dispatch_run(id, &origin, *run, &sources, triggered)?,
            Action::Copy(copy) | Action::Add(copy) => {
                let job = CopyJob::new(&origin, copy, &sources, triggered);
                self.dispatch_copy(id, job, ignore, linter)?;
            }
        }
        Ok(())
    }

    /// Puts the stage's variables into the instruction.
    fn expand(
        &self,
        id: StageId,
        instruction: &mut Instruction,
        linter: &Linter,
    ) -> std::result::Result<(), InstructionError> {
        let stage = &self.stages[id];
        let lines = instruction.origin.lines;
        let with = |lexer: Lexer, word: &str| {
            let expansion = lexer.expand(word, &stage.state.env);
            let (missing, env) = (&expansion.missing, &stage.state.env);
            checks::undefined_variables(missing, &stage.build_args, env, lines, linter);
            expansion.text.map_err(InstructionError::from)
        };
        instruction.expand(&mut |word| with(self.lexer, word), &mut |text| {
            with(Lexer::new('\\').ignore_quotes(), text)
        })
    }
}
