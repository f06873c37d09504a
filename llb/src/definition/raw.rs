//! Ops as decoded, by the digests of their bytes.

use std::collections::HashMap;

use lamina_proto::pb;
use lamina_types::Digest;
use prost::Message;

use super::LoadError;
use super::limits;

/// All ops of a definition but the terminal one.
pub(super) struct RawGraph {
    ops: HashMap<Digest, RawOp>,
    result: (Digest, usize),
}

/// An op and what its inputs name.
pub(super) struct RawOp {
    pub(super) op: pb::Op,
    pub(super) inputs: Vec<(Digest, usize)>,
}

impl RawGraph {
    pub(super) fn decode(bytes: &[Vec<u8>]) -> Result<Self, LoadError> {
        limits::check(bytes)?;
        let mut ops = HashMap::with_capacity(bytes.len());
        let mut last = None;
        let mut inputs = 0;
        for bytes in bytes {
            let digest = Digest::of(bytes);
            let op = RawOp::decode(bytes)?;
            inputs += op.inputs.len();
            limits::check_inputs(inputs)?;
            ops.insert(digest, op);
            last = Some(digest);
        }
        if ops.len() < 2 {
            return Err(LoadError::TooFew { count: ops.len() });
        }
        let terminal = last.and_then(|last| ops.remove(&last));
        let result = terminal.and_then(|terminal| terminal.inputs.first().copied());
        Ok(Self {
            ops,
            result: result.ok_or(LoadError::NoResult)?,
        })
    }

    /// Returns the edge that the terminal vertex names.
    pub(super) fn result(&self) -> (Digest, usize) {
        self.result
    }

    pub(super) fn get(&self, digest: &Digest) -> Result<&RawOp, LoadError> {
        self.ops.get(digest).ok_or_else(|| LoadError::MissingInput {
            digest: digest.to_string(),
        })
    }
}

impl RawOp {
    fn decode(bytes: &[u8]) -> Result<Self, LoadError> {
        let decode = |source| LoadError::Decode { source };
        let op = pb::Op::decode(bytes).map_err(decode)?;
        let inputs = op.inputs.iter().enumerate().map(edge);
        let inputs = inputs.collect::<Result<_, _>>()?;
        Ok(Self { op, inputs })
    }
}

fn edge((at, input): (usize, &pb::Input)) -> Result<(Digest, usize), LoadError> {
    let output = usize::try_from(input.index).map_err(|_| LoadError::NegativeOutput {
        input: at,
        output: input.index,
    })?;
    let missing = |_| LoadError::MissingInput {
        digest: input.digest.clone(),
    };
    Ok((input.digest.parse().map_err(missing)?, output))
}
