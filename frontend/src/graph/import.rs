//! Definitions of others as part of the graph: frontend inputs (row FDF-05).

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;
use prost::Message;

use crate::error::FrontendError;
use crate::graph::Graph;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::graph::VertexId;

type Known = BTreeMap<String, VertexId>;

impl Graph {
    /// Adds the vertices of a definition; returns its result, `None` for scratch.
    ///
    /// # Errors
    /// If the definition cannot be read or misses vertices.
    pub(crate) fn import(
        &mut self,
        definition: &pb::Definition,
    ) -> Result<Option<Output>, FrontendError> {
        let Some((terminal, ops)) = definition.def.split_last() else {
            return Ok(None);
        };
        let mut open = Vec::new();
        for bytes in ops {
            open.push((Digest::of(bytes).to_string(), decode(bytes)?));
        }
        let mut known = Known::new();
        // Ops may come in any order: take those whose inputs are there until none is left.
        while !open.is_empty() {
            let before = open.len();
            open = self.import_ready(definition, open, &mut known)?;
            if open.len() == before {
                return Err(bad("a vertex has an input that is not there"));
            }
        }
        let terminal = decode(terminal)?;
        let input = terminal
            .inputs
            .first()
            .ok_or_else(|| bad("the last vertex has no input"))?;
        output(input, &known).map(Some)
    }

    fn import_ready(
        &mut self,
        definition: &pb::Definition,
        open: Vec<(String, pb::Op)>,
        known: &mut Known,
    ) -> Result<Vec<(String, pb::Op)>, FrontendError> {
        let mut waiting = Vec::new();
        for (digest, op) in open {
            if !op
                .inputs
                .iter()
                .all(|input| known.contains_key(&input.digest))
            {
                waiting.push((digest, op));
                continue;
            }
            let inputs = op.inputs.iter().map(|input| output(input, known));
            let vertex = Vertex {
                inputs: inputs.collect::<Result<_, _>>()?,
                platform: op.platform.map(platform),
                metadata: definition
                    .metadata
                    .get(&digest)
                    .cloned()
                    .unwrap_or_default(),
                lines: None,
                op: op.op.ok_or_else(|| bad("a vertex has no operation"))?,
            };
            known.insert(digest, self.add(vertex));
        }
        Ok(waiting)
    }
}

fn decode(bytes: &[u8]) -> Result<pb::Op, FrontendError> {
    pb::Op::decode(bytes).map_err(|error| bad(&error.to_string()))
}

fn output(input: &pb::Input, known: &Known) -> Result<Output, FrontendError> {
    let vertex = known
        .get(&input.digest)
        .ok_or_else(|| bad("the result is not there"))?;
    Ok(Output {
        vertex: *vertex,
        index: input.index,
    })
}

fn platform(platform: pb::Platform) -> Platform {
    Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

fn bad(reason: &str) -> FrontendError {
    FrontendError::BadInput {
        reason: reason.to_owned(),
    }
}
