//! Rewriting definitions (row POL-08).
//!
//! A source that the rules replace has another digest, and so has everything that it is an input
//! of. Ops that nothing changes keep their bytes, so their digests stay what the client knows.

use std::collections::HashMap;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use prost::Message;

use super::PolicyError;
use super::apply;

/// Puts the sources of `definition` under `policies`. What cannot be decoded is left to the loader,
/// who refuses it.
///
/// # Errors
/// [`PolicyError`]; the first source that is denied.
pub(crate) fn rewrite(
    definition: pb::Definition,
    policies: &[&Policy],
) -> Result<pb::Definition, PolicyError> {
    if policies.is_empty() {
        return Ok(definition);
    }
    let decoded = definition
        .def
        .iter()
        .map(|bytes| pb::Op::decode(&bytes[..]));
    let Ok(mut ops) = decoded.collect::<Result<Vec<_>, _>>() else {
        return Ok(definition);
    };
    let mut changed = vec![false; ops.len()];
    for (op, changed) in ops.iter_mut().zip(&mut changed) {
        *changed = replace(op, policies)?;
    }
    if !changed.contains(&true) {
        return Ok(definition);
    }
    Ok(Rewriter::new(definition, ops, changed).run())
}

/// Says whether `op` is a source and is another one now.
fn replace(op: &mut pb::Op, policies: &[&Policy]) -> Result<bool, PolicyError> {
    let Some(pb::op::Op::Source(source)) = &mut op.op else {
        return Ok(false);
    };
    let before = source.clone();
    apply(policies, source)?;
    Ok(*source != before)
}

struct Rewriter {
    definition: pb::Definition,
    ops: Vec<pb::Op>,
    changed: Vec<bool>,
    /// Where the op of a digest is.
    index: HashMap<String, usize>,
    /// The digest of each op before, and after once it is known.
    before: Vec<String>,
    after: Vec<Option<String>>,
}

impl Rewriter {
    fn new(definition: pb::Definition, ops: Vec<pb::Op>, changed: Vec<bool>) -> Self {
        let digest = |bytes: &Vec<u8>| lamina_types::Digest::of(bytes).to_string();
        let before: Vec<String> = definition.def.iter().map(digest).collect();
        let places = before.iter().cloned().enumerate();
        Self {
            index: places.map(|(at, digest)| (digest, at)).collect(),
            after: vec![None; ops.len()],
            before,
            definition,
            ops,
            changed,
        }
    }

    fn run(mut self) -> pb::Definition {
        for at in 0..self.ops.len() {
            self.settle_with_inputs(at);
        }
        let renamed = self.before.into_iter().zip(self.after);
        let renamed = renamed.filter_map(|(before, after)| Some((before, after?)));
        rename(self.definition, &renamed.collect())
    }

    /// Settles an op after all that it needs, without recursion: chains may be long.
    fn settle_with_inputs(&mut self, first: usize) {
        let mut pending = vec![first];
        while let Some(&at) = pending.last() {
            let inputs = self.ops[at].inputs.iter();
            let inputs = inputs.filter_map(|input| self.index.get(&input.digest).copied());
            let open: Vec<usize> = inputs
                .filter(|&input| input != at && self.after[input].is_none())
                .collect();
            if self.after[at].is_some() || open.is_empty() {
                self.settle(at);
                pending.pop();
            } else {
                pending.extend(open);
            }
        }
    }

    /// Gives an op its new digest, now that those of its inputs are known.
    fn settle(&mut self, at: usize) {
        if self.after[at].is_some() {
            return;
        }
        for input in &mut self.ops[at].inputs {
            let place = self.index.get(&input.digest);
            let after = place.and_then(|&place| self.after[place].as_ref());
            if let Some(after) = after.filter(|&after| *after != input.digest) {
                input.digest.clone_from(after);
                self.changed[at] = true;
            }
        }
        self.after[at] = Some(if self.changed[at] {
            let bytes = self.ops[at].encode_to_vec();
            let digest = lamina_types::Digest::of(&bytes).to_string();
            self.definition.def[at] = bytes;
            digest
        } else {
            self.before[at].clone()
        });
    }
}

/// Lets metadata and source locations follow their ops.
fn rename(mut definition: pb::Definition, renamed: &HashMap<String, String>) -> pb::Definition {
    let new = |old: String| renamed.get(&old).cloned().unwrap_or(old);
    let metadata = std::mem::take(&mut definition.metadata);
    definition.metadata = metadata.into_iter().map(|(k, v)| (new(k), v)).collect();
    if let Some(source) = &mut definition.source {
        let locations = std::mem::take(&mut source.locations);
        source.locations = locations.into_iter().map(|(k, v)| (new(k), v)).collect();
    }
    definition
}
