//! What progress shows (row DFL-07).

use crate::convert::Converter;
use crate::convert::stages::StageId;
use crate::env::Env;
use crate::expand::Lexer;
use crate::platform::crossing;
use crate::platform::format_all;

impl Converter<'_> {
    /// Counts a step and returns `[stage 2/5] INSTR ..` for `text`.
    pub(super) fn step_name(&mut self, id: StageId, text: &str, triggered: bool) -> String {
        self.stages[id].steps_done += 1;
        self.same_step_name(id, text, triggered)
    }

    /// Returns the name for another vertex of the step that was counted last.
    pub(super) fn same_step_name(&self, id: StageId, text: &str, triggered: bool) -> String {
        let stage = &self.stages[id];
        if stage.steps_total == 0 {
            return text.to_owned();
        }
        let mut name = String::from("[");
        if self.job.options.multi_platform {
            let platform = stage.platform.as_ref().unwrap_or(&self.platforms.target);
            name.push_str(&format_all(platform));
            name.push_str(&crossing(platform, &stage.state.env));
            name.push(' ');
        }
        if !stage.shown_name.is_empty() {
            name.push_str(&stage.shown_name);
            name.push(' ');
        }
        let total = stage.steps_total.to_string();
        name.push_str(&format!(
            "{:>width$}/{total}] ",
            stage.steps_done,
            width = total.len()
        ));
        if triggered {
            name.push_str("ONBUILD ");
        }
        name + text
    }
}

/// Returns the instruction with its variables put in, as far as they are known.
pub(super) fn shown(lexer: &Lexer, code: &str, env: &Env) -> String {
    let text = lexer
        .expand(code, env)
        .text
        .unwrap_or_else(|_| code.to_owned());
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}
