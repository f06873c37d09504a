//! File ops (section 6.4): how actions are wired (rows FIL-01, FIL-02).
//!
//! Indices of an action below the op's input count are inputs, above it results of actions, and
//! -1 is scratch. An action may need a later one; only loops are refused.

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_types::Digest;

use super::InputUse;
use super::NONE;
use super::Operand;
use super::SpecError;
use super::file_action;
use super::file_action::Owner;
use super::file_key;

/// Changes to trees.
#[derive(Debug)]
pub(crate) struct FileStep {
    pub(crate) actions: Vec<Action>,
    /// The actions that outputs need, each after those that it needs.
    pub(crate) order: Vec<usize>,
    /// The action that gives each output.
    pub(crate) outputs: Vec<usize>,
    pub(crate) key: Digest,
    /// One per input of the op.
    pub(crate) inputs: Vec<InputUse>,
}

/// One change.
#[derive(Debug)]
pub(crate) struct Action {
    /// The tree that is changed.
    pub(crate) input: Operand,
    /// The tree that is copied from.
    pub(crate) secondary: Operand,
    /// What is done, without the owner.
    pub(crate) action: lamina_fileops::Action,
    pub(crate) owner: Option<Owner>,
    /// Its result has a single use, as the tree that another action changes.
    pub(crate) hands_on: bool,
}

/// What indices of one op can mean.
#[derive(Clone, Copy)]
pub(super) struct Wiring {
    pub(super) inputs: usize,
    pub(super) actions: usize,
}

impl Wiring {
    /// Resolves `index`, used by the action number `action`.
    pub(super) fn operand(self, action: usize, index: i64) -> Result<Operand, SpecError> {
        if index == NONE {
            return Ok(Operand::Scratch);
        }
        match usize::try_from(index) {
            Ok(input) if input < self.inputs => Ok(Operand::Input(input)),
            Ok(at) if at - self.inputs < self.actions => Ok(Operand::Action(at - self.inputs)),
            _ => Err(SpecError::BadActionInput {
                action,
                index,
                inputs: self.inputs,
                actions: self.actions,
            }),
        }
    }
}

impl FileStep {
    pub(super) fn parse(op: pb::FileOp, inputs: usize) -> Result<Self, SpecError> {
        if op.actions.is_empty() {
            return Err(SpecError::missing("file", "actions"));
        }
        let wiring = Wiring {
            inputs,
            actions: op.actions.len(),
        };
        let outputs = outputs(&op.actions)?;
        let key = file_key::key(&op.actions, wiring)?;
        let input_uses = file_key::input_uses(&op.actions, wiring)?;
        let parse = |(at, action)| Action::parse(at, action, wiring);
        let actions = op.actions.into_iter().enumerate().map(parse);
        let mut actions: Vec<Action> = actions.collect::<Result<_, _>>()?;
        let order = order(&actions, &outputs)?;
        mark_handed_on(&mut actions, &outputs);
        Ok(Self {
            actions,
            order,
            outputs,
            key,
            inputs: input_uses,
        })
    }
}

impl Action {
    fn parse(at: usize, action: pb::FileAction, wiring: Wiring) -> Result<Self, SpecError> {
        let kind = action.action.ok_or(SpecError::missing("file", "action"))?;
        Ok(Self {
            input: wiring.operand(at, action.input)?,
            secondary: wiring.operand(at, action.secondary_input)?,
            owner: Owner::parse(&kind, at, wiring)?,
            action: file_action::parse(kind)?,
            hands_on: false,
        })
    }

    /// Returns the actions whose results this one needs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = usize> {
        [self.input, self.secondary]
            .into_iter()
            .chain(self.owner.iter().flat_map(Owner::trees))
            .filter_map(|operand| match operand {
                Operand::Action(action) => Some(action),
                _ => None,
            })
    }
}

/// Returns the action behind each output; outputs are dense from 0 and unique.
fn outputs(actions: &[pb::FileAction]) -> Result<Vec<usize>, SpecError> {
    let mut found = BTreeMap::new();
    for (at, action) in actions.iter().enumerate() {
        if action.output != NONE && found.insert(action.output, at).is_some() {
            return Err(SpecError::DuplicateOutput {
                index: action.output,
            });
        }
    }
    if found.is_empty() {
        return Err(SpecError::missing("file", "outputs"));
    }
    let dense = found
        .keys()
        .zip(0_i64..)
        .position(|(&output, index)| output != index);
    match dense {
        Some(index) => Err(SpecError::MissingOutput { index }),
        None => Ok(found.into_values().collect()),
    }
}

/// Returns what the outputs need, depth first; each action is finished once, so this is linear.
fn order(actions: &[Action], outputs: &[usize]) -> Result<Vec<usize>, SpecError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; actions.len()];
    let mut order = Vec::new();
    let mut stack = outputs.to_vec();
    while let Some(&at) = stack.last() {
        if marks[at] == Mark::New {
            marks[at] = Mark::Open;
            for need in actions[at].needs() {
                match marks[need] {
                    Mark::New => stack.push(need),
                    Mark::Open => return Err(SpecError::ActionLoop { action: need }),
                    Mark::Done => {}
                }
            }
            continue;
        }
        stack.pop();
        if marks[at] == Mark::Open {
            marks[at] = Mark::Done;
            order.push(at);
        }
    }
    Ok(order)
}

/// Marks the results that the next action may go on changing, so that a chain makes one layer.
fn mark_handed_on(actions: &mut [Action], outputs: &[usize]) {
    let mut uses = vec![0_usize; actions.len()];
    for &output in outputs {
        uses[output] += 1;
    }
    for need in actions.iter().flat_map(Action::needs) {
        uses[need] += 1;
    }
    let changed: Vec<Operand> = actions.iter().map(|action| action.input).collect();
    for operand in changed {
        if let Operand::Action(at) = operand {
            actions[at].hands_on = uses[at] == 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(input: i64, secondary: i64, output: i64) -> pb::FileAction {
        let rm = pb::FileActionRm::default();
        pb::FileAction {
            input,
            secondary_input: secondary,
            output,
            action: Some(pb::file_action::Action::Rm(rm)),
        }
    }

    fn parse(actions: Vec<pb::FileAction>) -> Result<FileStep, SpecError> {
        FileStep::parse(pb::FileOp { actions }, 1)
    }

    #[test]
    fn bad_wiring_is_refused() {
        for (actions, error) in [
            (vec![], "invalid file op with no actions"),
            (vec![action(0, -1, -1)], "invalid file op with no outputs"),
            (vec![action(0, -1, 1)], "missing output index 0"),
            (vec![action(0, -1, -2)], "missing output index 0"),
            (
                vec![action(0, -1, 0), action(0, -1, 0)],
                "duplicate output 0",
            ),
            (vec![action(1, -1, 0)], "loop from action 0"),
            (
                vec![action(2, -1, 0), action(1, -1, -1)],
                "loop from action 0",
            ),
            (vec![action(0, 1, 0)], "loop from action 0"),
            (
                vec![action(2, -1, 0)],
                "invalid input index 2 of action 0: 1 inputs and 1 actions",
            ),
            (
                vec![action(-2, -1, 0)],
                "invalid input index -2 of action 0: 1 inputs and 1 actions",
            ),
        ] {
            assert_eq!(parse(actions).expect_err(error).to_string(), error);
        }
        let empty = pb::FileAction {
            action: None,
            ..action(0, -1, 0)
        };
        let error = parse(vec![empty]).expect_err("refused");
        assert_eq!(error.to_string(), "invalid file op with no action");
    }

    #[test]
    fn results_come_before_their_uses_and_unneeded_actions_are_left_out() {
        // 0 needs 2 and 1, 1 needs 2, 3 is needed by nobody.
        let step = parse(vec![
            action(3, 2, 0),
            action(3, -1, -1),
            action(0, -1, -1),
            action(0, -1, -1),
        ]);
        assert_eq!(step.expect("valid").order, [2, 1, 0]);
    }

    #[test]
    fn only_a_single_use_as_the_changed_tree_is_handed_on() {
        let handed_on = |actions| -> Vec<bool> {
            let step = parse(actions).expect("valid");
            step.actions.iter().map(|action| action.hands_on).collect()
        };
        assert_eq!(
            handed_on(vec![action(0, -1, -1), action(1, -1, 0)]),
            [true, false],
            "chain"
        );
        assert_eq!(
            handed_on(vec![action(0, -1, 1), action(1, -1, 0)]),
            [false, false],
            "also an output"
        );
        assert_eq!(
            handed_on(vec![action(0, -1, -1), action(-1, 1, 0)]),
            [false, false],
            "copied from"
        );
        assert_eq!(
            handed_on(vec![action(0, -1, -1), action(1, 1, 0)]),
            [false, false],
            "changed and copied from"
        );
    }
}
