//! Which ops the result needs, inputs first.

use std::collections::HashMap;

use lamina_types::Digest;

use super::LoadError;
use super::raw::RawGraph;

/// Longest chain of steps. The depth bounds every walk over the graph, recursive ones (such as
/// freeing it) included; Dockerfiles stay below some hundreds.
const MAX_DEPTH: usize = 4_000;

/// Returns the digests of all ops that the result needs, each after its inputs.
///
/// An op names its inputs by their digests, so a cycle would be a collision of sha256; it would
/// show as a chain that is too long.
pub(super) fn needed(graph: &RawGraph) -> Result<Vec<Digest>, LoadError> {
    let mut walk = Walk {
        graph,
        depths: HashMap::new(),
        order: Vec::new(),
        path: Vec::new(),
    };
    walk.run()?;
    Ok(walk.order)
}

/// A depth-first walk with its own stack.
struct Walk<'a> {
    graph: &'a RawGraph,
    /// Finished ops and the longest chain below each.
    depths: HashMap<Digest, usize>,
    order: Vec<Digest>,
    /// Ops being worked on and the next input of each.
    path: Vec<(Digest, usize)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), LoadError> {
        self.enter(self.graph.result().0)?;
        while let Some((digest, next)) = self.path.last_mut() {
            let digest = *digest;
            let inputs = &self.graph.get(&digest)?.inputs;
            if let Some(&(input, _)) = inputs.get(*next) {
                *next += 1;
                if !self.depths.contains_key(&input) {
                    self.enter(input)?;
                }
                continue;
            }
            self.path.pop();
            self.finish(digest)?;
        }
        Ok(())
    }

    fn enter(&mut self, digest: Digest) -> Result<(), LoadError> {
        self.graph.get(&digest)?;
        self.path.push((digest, 0));
        check_depth(self.path.len())
    }

    fn finish(&mut self, digest: Digest) -> Result<(), LoadError> {
        let inputs = &self.graph.get(&digest)?.inputs;
        let below = inputs
            .iter()
            .filter_map(|(input, _)| self.depths.get(input));
        let depth = below.max().copied().unwrap_or(0) + 1;
        check_depth(depth)?;
        self.depths.insert(digest, depth);
        self.order.push(digest);
        Ok(())
    }
}

fn check_depth(depth: usize) -> Result<(), LoadError> {
    if depth > MAX_DEPTH {
        return Err(LoadError::TooLarge {
            what: "the longest chain of vertexes",
            limit: MAX_DEPTH,
        });
    }
    Ok(())
}
