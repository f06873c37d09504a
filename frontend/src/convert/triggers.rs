//! `ONBUILD` triggers of the base, run at the start of a stage (row DFI-41).

use crate::convert::Converter;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::error::lift;
use crate::instructions::Action;
use crate::instructions::parse_node;
use crate::located::Located;
use crate::syntax;

impl Converter<'_> {
    /// Puts the base's triggers in front of the stage's own commands; says whether that brought
    /// new stages or images in.
    pub(super) fn run_triggers(&mut self, id: StageId) -> Result<bool> {
        let mut triggers = std::mem::take(&mut self.stages[id].image.config.on_build);
        if let Some(base) = self.stages[id].base
            && !std::mem::replace(&mut self.stages[id].triggers_done, true)
        {
            let actions = self.stages[base].commands.iter();
            triggers.extend(
                actions.filter_map(|command| match &command.instruction.action {
                    Action::Onbuild(text) => Some(text.clone()),
                    _ => None,
                }),
            );
        }
        let result = self.add_triggers(id, &triggers);
        let lines = self.stages[id].lines;
        // The trigger is no line of this file: the stage's is.
        result.map_err(|error| Located {
            error: error.error,
            places: lines.into_iter().collect(),
        })
    }

    fn add_triggers(&mut self, id: StageId, triggers: &[String]) -> Result<bool> {
        let mut commands = Vec::new();
        let mut takes_from_others = false;
        for text in triggers {
            let file = syntax::parse(text).map_err(lift)?;
            let [node] = &file.nodes[..] else {
                return Err(FrontendError::TriggerCount.into());
            };
            let mut instruction = parse_node(node)?;
            if let Some(lines) = self.stages[id].lines {
                instruction.origin.lines = lines;
            }
            let count = self.stage_count();
            let command = self.stages.command(instruction, true, count)?;
            takes_from_others |= !command.sources.is_empty();
            self.stages.depend(id, &command);
            commands.push(command);
        }
        let stage = &mut self.stages[id];
        stage.steps_total += commands.len();
        stage.commands.splice(0..0, commands);
        Ok(takes_from_others)
    }
}
