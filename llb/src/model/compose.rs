//! Merge, diff, passthrough and build ops (section 6.5): what gives new trees without a process.

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_types::Digest;

use super::Operand;
use super::SpecError;
use super::input_operand;
use crate::key::KeyHasher;

/// Stacks inputs, later ones on top (row OPS-04).
#[derive(Debug)]
pub(crate) struct MergeStep {
    pub(crate) inputs: Vec<Operand>,
    pub(crate) key: Digest,
}

impl MergeStep {
    pub(crate) fn parse(op: pb::MergeOp, count: usize) -> Result<Self, SpecError> {
        let key = KeyHasher::new("merge").message(&op).finish();
        let operand = |input: &pb::MergeInput| input_operand(input.input, count);
        let inputs = op.inputs.iter().map(operand).collect::<Result<_, _>>()?;
        Ok(Self { inputs, key })
    }
}

/// What turns `lower` into `upper` (rows OPS-06, OPS-07).
#[derive(Debug)]
pub(crate) struct DiffStep {
    pub(crate) lower: Operand,
    pub(crate) upper: Operand,
    pub(crate) key: Digest,
}

impl DiffStep {
    pub(crate) fn parse(op: pb::DiffOp, count: usize) -> Result<Self, SpecError> {
        let key = KeyHasher::new("diff").message(&op).finish();
        let missing = || SpecError::missing("diff", "lower or upper input");
        let lower = op.lower.ok_or_else(missing)?;
        let upper = op.upper.ok_or_else(missing)?;
        Ok(Self {
            lower: input_operand(lower.input, count)?,
            upper: input_operand(upper.input, count)?,
            key,
        })
    }
}

/// Returns inputs unchanged under a new vertex (row OPS-08).
#[derive(Debug)]
pub(crate) struct PassthroughStep {
    pub(crate) id: String,
    /// Which input each output is.
    pub(crate) outputs: Vec<usize>,
    pub(crate) key: Digest,
}

impl PassthroughStep {
    pub(crate) fn parse(op: pb::PassthroughOp, count: usize) -> Result<Self, SpecError> {
        let key = KeyHasher::new("passthrough").message(&op).finish();
        if op.id.is_empty() {
            return Err(SpecError::missing("passthrough", "id"));
        }
        if op.outputs.is_empty() {
            return Err(SpecError::missing("passthrough", "outputs"));
        }
        let output = |&index: &i64| match input_operand(index, count)? {
            Operand::Input(input) => Ok(input),
            _ => Err(SpecError::BadInput {
                index,
                inputs: count,
            }),
        };
        Ok(Self {
            outputs: op.outputs.iter().map(output).collect::<Result<_, _>>()?,
            id: op.id,
            key,
        })
    }
}

/// Solves a definition that a file of an input holds (rows OPS-01 to OPS-03).
#[derive(Debug)]
pub(crate) struct BuildStep {
    /// The input with the file.
    pub(crate) input: usize,
    /// The file.
    pub(crate) filename: String,
    pub(crate) key: Digest,
}

const LLB_BUILDER: i64 = -1;
const DEFINITION_INPUT: &str = "buildkit.llb.definition";
const FILENAME_ATTR: &str = "llbbuild.filename";

impl BuildStep {
    pub(crate) fn parse(op: pb::BuildOp, count: usize) -> Result<Self, SpecError> {
        let key = KeyHasher::new("build").message(&op).finish();
        if op.builder != LLB_BUILDER {
            return Err(SpecError::ForeignBuilder);
        }
        let input = definition_input(&op.inputs, count)?;
        let filename = op.attrs.get(FILENAME_ATTR);
        Ok(Self {
            input,
            filename: filename.map_or(DEFINITION_INPUT, String::as_str).to_owned(),
            key,
        })
    }
}

fn definition_input(
    inputs: &BTreeMap<String, pb::BuildInput>,
    count: usize,
) -> Result<usize, SpecError> {
    let missing = SpecError::missing("build", "llb definition input buildkit.llb.definition");
    let index = inputs.get(DEFINITION_INPUT).ok_or(missing)?.input;
    match input_operand(index, count)? {
        Operand::Input(input) => Ok(input),
        _ => Err(SpecError::BadInput {
            index,
            inputs: count,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passthrough_needs_an_id_and_outputs_within_its_inputs() {
        for (id, outputs, error) in [
            ("", vec![0], "invalid passthrough op with no id"),
            ("x", vec![], "invalid passthrough op with no outputs"),
            ("x", vec![1], "invalid input index 1: the op has 1 inputs"),
            ("x", vec![-1], "invalid input index -1: the op has 1 inputs"),
        ] {
            let id = id.to_owned();
            let found = PassthroughStep::parse(pb::PassthroughOp { id, outputs }, 1);
            assert_eq!(found.expect_err(error).to_string(), error);
        }
    }

    #[test]
    fn diff_needs_both_sides() {
        let error = DiffStep::parse(pb::DiffOp::default(), 0).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "invalid diff op with no lower or upper input"
        );
    }

    #[test]
    fn build_takes_only_the_llb_builder() {
        let op = pb::BuildOp {
            builder: 0,
            ..pb::BuildOp::default()
        };
        let error = BuildStep::parse(op, 1).expect_err("refused");
        assert_eq!(error.to_string(), "only LLB builder is currently allowed");
    }
}
