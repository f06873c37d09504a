//! Rewriting definitions (row POL-08).
//!
//! A source that the rules replace has another digest, and so has everything that it is an input
//! of. Ops that nothing changes keep their bytes, so their digests stay what the client knows.

use std::collections::HashMap;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use prost::Message;

use super::PolicyError;
use super::apply_with;
use super::patterns::Patterns;
use crate::definition::check_inputs;
use crate::definition::check_size;

/// Puts the sources of `definition` under `policies`. What cannot be decoded or is too large is left
/// to the loader, who refuses it.
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
    let Some(mut ops) = decode(&definition.def) else {
        return Ok(definition);
    };
    let patterns = Patterns::default();
    let mut changed = vec![false; ops.len()];
    for (op, changed) in ops.iter_mut().zip(&mut changed) {
        *changed = replace(op, policies, &patterns)?;
    }
    if !changed.contains(&true) {
        return Ok(definition);
    }
    Ok(Rewriter::new(definition, ops, changed).run())
}

/// Decodes what the loader would take; the limits come first, as deciding costs more than loading.
fn decode(bytes: &[Vec<u8>]) -> Option<Vec<pb::Op>> {
    check_size(bytes).ok()?;
    let ops = bytes.iter().map(|bytes| pb::Op::decode(&bytes[..]));
    let ops = ops.collect::<Result<Vec<_>, _>>().ok()?;
    check_inputs(ops.iter().map(|op| op.inputs.len()).sum()).ok()?;
    Some(ops)
}

/// Says whether `op` is a source and is another one now.
fn replace(
    op: &mut pb::Op,
    policies: &[&Policy],
    patterns: &Patterns,
) -> Result<bool, PolicyError> {
    let Some(pb::op::Op::Source(source)) = &mut op.op else {
        return Ok(false);
    };
    let before = source.clone();
    apply_with(policies, patterns, source)?;
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

    /// Settles an op after all that it needs, without recursion: chains may be long. What several
    /// ops need is looked at once, so this takes as long as there are inputs.
    fn settle_with_inputs(&mut self, first: usize) {
        let mut pending = vec![first];
        while let Some(&at) = pending.last() {
            let before = pending.len();
            if self.after[at].is_none() {
                pending.extend(self.open_inputs(at));
            }
            if pending.len() == before {
                self.settle(at);
                pending.pop();
            }
        }
    }

    /// Returns the inputs of an op that have no new digest yet.
    fn open_inputs(&self, at: usize) -> impl Iterator<Item = usize> {
        let inputs = self.ops[at].inputs.iter();
        let inputs = inputs.filter_map(|input| self.index.get(&input.digest).copied());
        inputs.filter(move |&input| input != at && self.after[input].is_none())
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
