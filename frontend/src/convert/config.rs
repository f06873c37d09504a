//! Instructions that change the config (rows DFI-06, DFI-32 to DFI-42), and the history.

use lamina_content::History;
use lamina_proto::pb;

use crate::convert::Converter;
use crate::convert::checks;
use crate::convert::effort::ENTRY_BYTES;
use crate::convert::epoch;
use crate::convert::names;
use crate::convert::signals;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::FileBuilder;
use crate::graph::Output;
use crate::graph::owner;
use crate::image;
use crate::image::HISTORY_COMMENT;
use crate::instructions::CommandLine;
use crate::instructions::Healthcheck;
use crate::instructions::KeyValue;
use crate::instructions::Origin;
use crate::instructions::format_duration;
use crate::lint::Linter;
use crate::lint::Rule;
use crate::paths::System;
use crate::quote::quoted_list;

impl Converter<'_> {
    /// Adds a history entry (row DFL-09).
    pub(super) fn history(&mut self, id: StageId, created_by: String, with_layer: bool) {
        self.spend(created_by.len() + ENTRY_BYTES);
        let created = self.epoch.and_then(epoch::to_text);
        self.stages[id].image.history.push(History {
            created,
            created_by,
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !with_layer,
            ..History::default()
        });
    }

    /// Returns the conventions of the stage's platform.
    pub(super) fn system(&self, id: StageId) -> System {
        let platform = self.stages[id].platform.as_ref();
        System::of(&platform.unwrap_or(&self.platforms.target).os)
    }

    pub(super) fn dispatch_env(
        &mut self,
        id: StageId,
        origin: &Origin,
        pairs: &[KeyValue],
        linter: &Linter,
    ) {
        let mut message = "ENV".to_owned();
        for pair in pairs {
            lint_legacy(origin, pair, linter);
            checks::secret_name("ENV", &pair.key, origin.lines, linter);
            message.push_str(&format!(" {}={}", pair.key, pair.value));
            // Each variable of the image is looked at.
            self.spend(self.stages[id].image.config.env.len());
            let stage = &mut self.stages[id];
            stage.state.env.set(&pair.key, &pair.value);
            image::set_env(&mut stage.image, &pair.key, &pair.value);
        }
        self.history(id, message, false);
    }

    pub(super) fn dispatch_label(
        &mut self,
        id: StageId,
        origin: &Origin,
        pairs: &[KeyValue],
        linter: &Linter,
    ) {
        let mut message = "LABEL".to_owned();
        for pair in pairs {
            lint_legacy(origin, pair, linter);
            message.push_str(&format!(" {}={}", pair.key, pair.value));
            let labels = &mut self.stages[id].image.config.labels;
            labels.insert(pair.key.clone(), pair.value.clone());
        }
        self.history(id, message, false);
    }

    pub(super) fn dispatch_cmd(
        &mut self,
        id: StageId,
        origin: &Origin,
        command: CommandLine,
        linter: &Linter,
    ) {
        self.stages[id].cmd.mark(origin, linter);
        let words = self.command_words(id, origin, command, linter);
        self.history(id, format!("CMD {}", quoted_list(&words)), false);
        let config = &mut self.stages[id].image.config;
        config.cmd = words;
        config.args_escaped = true;
    }

    pub(super) fn dispatch_entrypoint(
        &mut self,
        id: StageId,
        origin: &Origin,
        command: CommandLine,
        linter: &Linter,
    ) {
        self.stages[id].entrypoint.mark(origin, linter);
        let words = self.command_words(id, origin, command, linter);
        self.history(id, format!("ENTRYPOINT {}", quoted_list(&words)), false);
        let stage = &mut self.stages[id];
        stage.image.config.entrypoint = words;
        if !stage.cmd.is_set() {
            stage.image.config.cmd.clear();
        }
    }

    fn command_words(
        &self,
        id: StageId,
        origin: &Origin,
        command: CommandLine,
        linter: &Linter,
    ) -> Vec<String> {
        if !command.shell {
            return command.words;
        }
        let image = &self.stages[id].image;
        if image.config.shell.is_empty() {
            let keyword = &origin.keyword;
            linter.report(Rule::JsonArgsRecommended { keyword }, origin.lines);
        }
        image::in_shell(image, &command.words)
    }

    pub(super) fn dispatch_healthcheck(
        &mut self,
        id: StageId,
        origin: &Origin,
        check: Healthcheck,
        linter: &Linter,
    ) {
        self.stages[id].healthcheck.mark(origin, linter);
        let message = format!(
            "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            check.test.join(" "),
            format_duration(check.interval),
            format_duration(check.timeout),
            format_duration(check.start_period),
            format_duration(check.start_interval),
            check.retries,
        );
        self.stages[id].image.config.healthcheck = Some(lamina_content::Healthcheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        });
        self.history(id, message, false);
    }

    pub(super) fn dispatch_user(&mut self, id: StageId, user: String) {
        self.history(id, format!("USER {user}"), false);
        self.set_user(id, user);
    }

    /// Sets the user without a history entry.
    pub(super) fn set_user(&mut self, id: StageId, user: String) {
        let stage = &mut self.stages[id];
        stage.state.user.clone_from(&user);
        stage.image.config.user = user;
    }

    pub(super) fn dispatch_volume(&mut self, id: StageId, volumes: &[String]) -> Result<()> {
        for volume in volumes {
            if volume.is_empty() {
                return Err(FrontendError::EmptyVolume.into());
            }
            self.stages[id].image.config.volumes.insert(volume.clone());
        }
        self.history(id, format!("VOLUME [{}]", volumes.join(" ")), false);
        Ok(())
    }

    pub(super) fn dispatch_stop_signal(&mut self, id: StageId, signal: String) -> Result<()> {
        if !signals::is_valid(&signal) {
            return Err(FrontendError::Signal { signal }.into());
        }
        self.history(id, format!("STOPSIGNAL {signal}"), false);
        self.stages[id].image.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn dispatch_shell(&mut self, id: StageId, shell: Vec<String>) {
        self.history(id, format!("SHELL [{}]", shell.join(" ")), false);
        self.stages[id].image.config.shell = shell;
    }

    pub(super) fn dispatch_maintainer(&mut self, id: StageId, maintainer: String) {
        self.history(id, format!("MAINTAINER {maintainer}"), false);
        self.stages[id].image.author = maintainer;
    }

    /// Changes the directory and makes it, owned by the current user.
    pub(super) fn dispatch_workdir(
        &mut self,
        id: StageId,
        origin: &Origin,
        path: &str,
        linter: &Linter,
        triggered: bool,
    ) -> Result<()> {
        if !self.stages[id].workdir_set && !self.system(id).is_absolute(path) {
            linter.report(Rule::WorkdirRelativePath { path }, origin.lines);
        }
        self.stages[id].workdir_set = true;
        let dir = self.set_workdir(id, path)?;
        if dir != "/" {
            self.make_workdir(id, origin, &dir, triggered);
        }
        self.history(id, format!("WORKDIR {dir}"), dir != "/");
        Ok(())
    }

    /// Sets the directory without a history entry; returns it with slashes.
    pub(super) fn set_workdir(&mut self, id: StageId, path: &str) -> Result<String> {
        let system = self.system(id);
        let stage = &mut self.stages[id];
        let dir = system.absolute(&stage.image.config.working_dir, path)?;
        stage.image.config.working_dir = system.native(&dir);
        stage.state.dir.clone_from(&dir);
        Ok(dir)
    }

    fn make_workdir(&mut self, id: StageId, origin: &Origin, dir: &str, triggered: bool) {
        let text = names::shown(&self.lexer, &origin.code, &self.stages[id].state.env);
        let name = self.step_name(id, &text, triggered);
        let time = self
            .epoch
            .and_then(|seconds| seconds.checked_mul(1_000_000_000));
        let stage = &mut self.stages[id];
        let user = &stage.image.config.user;
        let owner: Option<pb::ChownOpt> = (!user.is_empty()).then(|| owner(user));
        let mut file = FileBuilder::new(stage.state.output);
        file.make_dir(dir, 0o755, owner, true, time);
        let vertex = file.finish().named(name).at(Some(origin.lines));
        stage.state.output = Some(Output::of(self.graph.add(vertex)));
    }
}

fn lint_legacy(origin: &Origin, pair: &KeyValue, linter: &Linter) {
    if pair.legacy {
        let keyword = &origin.keyword;
        linter.report(Rule::LegacyKeyValueFormat { keyword }, origin.lines);
    }
}
