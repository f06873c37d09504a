//! Arguments before the first `FROM`, and the stages' headers (rows DFI-02, DFI-03, DFI-05).

use std::collections::BTreeSet;

use lamina_types::Platform;

use crate::convert::Converter;
use crate::convert::at;
use crate::convert::checks;
use crate::convert::effort::ENTRY_BYTES;
use crate::convert::outline::Declaration;
use crate::convert::outline::Declared;
use crate::convert::stages::SCRATCH;
use crate::convert::stages::StageState;
use crate::env::Env;
use crate::error::FrontendError;
use crate::error::Result;
use crate::expand::ExpandError;
use crate::expand::Expansion;
use crate::instructions::Action;
use crate::instructions::Argument;
use crate::instructions::FileParts;
use crate::instructions::Stage;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::lint::Rule;
use crate::located::Located;
use crate::platform;
use crate::suggest::Case;
use crate::suggest::Suggestion;

impl Converter<'_> {
    /// Sets the global arguments.
    pub(super) fn set_globals(&mut self, parts: &FileParts) -> Result<()> {
        let target = match (self.job.options.target.as_str(), parts.stages.last()) {
            ("", Some(stage)) => stage.name.clone(),
            (target, _) => target.to_owned(),
        };
        let automatic = self.automatic_args(&target);
        if let Ok((defaults, _)) = self.with_declared(automatic.clone(), parts, false) {
            checks::default_bases(&parts.stages, &self.lexer, &defaults, &self.linter);
        }
        let (globals, declared) = self.with_declared(automatic, parts, true)?;
        self.globals = globals;
        self.declared = declared;
        Ok(())
    }

    /// Returns the arguments that every file has.
    fn automatic_args(&self, target: &str) -> Env {
        let build = &self.platforms.build;
        let wanted = &self.platforms.target;
        let stage = if target.is_empty() { "default" } else { target };
        let pairs = [
            ("BUILDPLATFORM", build.to_string()),
            ("BUILDOS", build.os.clone()),
            ("BUILDOSVERSION", build.os_version.clone()),
            ("BUILDARCH", build.architecture.clone()),
            ("BUILDVARIANT", build.variant.clone()),
            ("TARGETPLATFORM", platform::format_all(wanted)),
            ("TARGETOS", wanted.os.clone()),
            ("TARGETOSVERSION", wanted.os_version.clone()),
            ("TARGETARCH", wanted.architecture.clone()),
            ("TARGETVARIANT", wanted.variant.clone()),
            ("TARGETSTAGE", stage.to_owned()),
        ];
        let given = |(name, value): (&str, String)| {
            let value = self.build_args.get(name).cloned().unwrap_or(value);
            (name.to_owned(), value)
        };
        pairs.into_iter().map(given).collect()
    }

    /// Adds the declared arguments to `env`; returns them also alone.
    fn with_declared(
        &mut self,
        mut env: Env,
        parts: &FileParts,
        use_build_args: bool,
    ) -> Result<(Env, Declared)> {
        let mut declared = Declared::new();
        for (arguments, lines) in &parts.global_arguments {
            for (place, argument) in arguments.iter().enumerate() {
                let given = self
                    .build_args
                    .get(&argument.name)
                    .filter(|_| use_build_args);
                let (value, needs) = match given {
                    Some(given) => (Some(given.clone()), BTreeSet::new()),
                    None => at(self.default_value(argument, &env, &mut declared), *lines)?,
                };
                self.spend(2 * value.as_ref().map_or(0, String::len) + ENTRY_BYTES);
                at(self.check_effort(), *lines)?;
                let declaration = Declaration {
                    value: value.clone().unwrap_or_default(),
                    description: argument.description.clone(),
                    lines: *lines,
                    place,
                    needs,
                };
                declared.insert(argument.name.clone(), declaration);
                if let Some(value) = value {
                    env.set(&argument.name, value);
                }
            }
        }
        Ok((env, declared))
    }

    /// Returns the default of an argument, and which others it is made of: one that is made of its
    /// own earlier value is made of what that was made of.
    fn default_value(
        &self,
        argument: &Argument,
        env: &Env,
        declared: &mut Declared,
    ) -> std::result::Result<(Option<String>, BTreeSet<String>), ExpandError> {
        let Some(default) = &argument.value else {
            return Ok((None, BTreeSet::new()));
        };
        let expansion = self.lexer.expand(default, env);
        let mut needs = expansion.found;
        if needs.remove(&argument.name)
            && let Some(earlier) = declared.get_mut(&argument.name)
        {
            // The earlier one is replaced.
            let later = std::mem::replace(&mut needs, std::mem::take(&mut earlier.needs));
            needs.extend(later);
        }
        Ok((Some(expansion.text?), needs))
    }

    /// Takes the stages' headers, variables put in.
    pub(super) fn add_stages(&mut self, stages: Vec<Stage>) -> Result<()> {
        for (index, stage) in stages.into_iter().enumerate() {
            self.add_stage(index, stage)?;
        }
        Ok(())
    }

    fn add_stage(&mut self, index: usize, stage: Stage) -> Result<()> {
        let lines = stage.origin.lines;
        let linter = self.linter.with_comments(&stage.origin.comments);
        let base = self.lexer.expand(&stage.base, &self.globals);
        self.lint_unknown_args(&base, lines, &linter);
        let base_name = at(base.text, lines)?;
        if base_name.is_empty() {
            let error = FrontendError::BlankBase { base: stage.base };
            return Err(Located::at(error, lines));
        }
        let platform = stage.platform.clone();
        let mut state = state_of(stage, base_name);
        let mut used = base.found;
        if !platform.is_empty() {
            let (platform, found) = self.stage_platform(&platform, &state, lines, &linter)?;
            state.platform = Some(platform);
            used.extend(found);
        }
        if !state.name.is_empty() {
            state.named_context = self.named_context(&state.name, state.platform.as_ref())?;
            if state.named_context.is_some() {
                self.stages.add(state);
                return Ok(());
            }
        } else {
            state.shown_name = format!("stage-{index}");
        }
        state.ignore_cache = self.job.options.ignores_cache(&state.name);
        state.asks.uses(used);
        let id = self.stages.add(state);
        let stage = &mut self.stages[id];
        stage.steps_total = steps(stage);
        Ok(())
    }

    /// Returns the value of `--platform`, and the arguments that it uses.
    fn stage_platform(
        &self,
        expression: &str,
        stage: &StageState,
        lines: Lines,
        linter: &Linter,
    ) -> Result<(Platform, BTreeSet<String>)> {
        let expansion = self.lexer.expand(expression, &self.globals);
        self.lint_unknown_args(&expansion, lines, linter);
        self.lint_platform(expression, &stage.name, &expansion, lines, linter);
        let suggestion = || {
            let near =
                |name: &String| Suggestion::nearest(name, self.globals.names(), Case::Sensitive);
            let mut found = expansion.missing.iter().map(near);
            found
                .find(|suggestion| suggestion.word().is_some())
                .unwrap_or_default()
        };
        let expression = expression.to_owned();
        let error = match &expansion.text {
            Err(source) => FrontendError::PlatformArguments {
                text: String::new(),
                source: source.clone(),
            },
            Ok(text) if text.is_empty() => FrontendError::EmptyPlatform {
                expression,
                suggestion: suggestion(),
            },
            Ok(text) => match platform::parse(text) {
                Ok(platform) => return Ok((platform, expansion.found)),
                Err(source) => FrontendError::Platform {
                    expression,
                    source,
                    suggestion: suggestion(),
                },
            },
        };
        Err(Located::at(error, lines))
    }

    fn lint_unknown_args(&self, expansion: &Expansion, lines: Lines, linter: &Linter) {
        if expansion.missing.is_empty() || linter.is_full() {
            return;
        }
        let known: BTreeSet<&str> = self
            .globals
            .names()
            .chain(self.declared.keys().map(String::as_str))
            .collect();
        for name in expansion
            .missing
            .iter()
            .filter(|name| !known.contains(name.as_str()))
        {
            let suggestion = Suggestion::nearest(name, known.iter().copied(), Case::Sensitive);
            let suggestion = &suggestion;
            linter.report(Rule::UndefinedArgInFrom { name, suggestion }, lines);
        }
    }

    fn lint_platform(
        &self,
        expression: &str,
        stage: &str,
        expansion: &Expansion,
        lines: Lines,
        linter: &Linter,
    ) {
        let Ok(text) = &expansion.text else { return };
        let used: Vec<&String> = expansion.found.iter().collect();
        if let ([name], true) = (&used[..], expansion.missing.is_empty()) {
            let is_target = *name == "TARGETPLATFORM";
            if is_target && self.globals.get(name) == Some(text) {
                let platform = expression;
                linter.report(Rule::RedundantTargetPlatform { platform }, lines);
            }
        }
        if !used.is_empty() || !expansion.missing.is_empty() {
            return;
        }
        let Ok(platform) = platform::parse(text) else {
            return;
        };
        if !stage.contains(&platform.os) && !stage.contains(&platform.architecture) {
            let platform = text.as_str();
            linter.report(Rule::FromPlatformFlagConstDisallowed { platform }, lines);
        }
    }
}

/// Returns a stage as its header has it, on the base of that name.
fn state_of(stage: Stage, base_name: String) -> StageState {
    StageState {
        shown_name: stage.name.clone(),
        name: stage.name,
        description: stage.description,
        base_name,
        lines: Some(stage.origin.lines),
        code: stage.origin.code,
        instructions: stage.instructions,
        ..StageState::default()
    }
}

/// Counts what progress shows as steps.
fn steps(stage: &StageState) -> usize {
    let loads_base = stage.base_name != SCRATCH && stage.base.is_none();
    let is_step = |action: &Action| {
        matches!(
            action,
            Action::Add(_) | Action::Copy(_) | Action::Run(_) | Action::Workdir(_)
        )
    };
    let actions = stage
        .instructions
        .iter()
        .map(|instruction| &instruction.action);
    usize::from(loads_base) + actions.filter(|action| is_step(action)).count()
}
