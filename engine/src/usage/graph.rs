//! Which layers results are made of, and so which layer can go first: no I/O here.
//!
//! A result is a list of layers, and it is *about* the topmost one: the others have results of their
//! own. A layer can go when no other result is left that has it below its top; what goes with it
//! are the results that are about it.

use std::collections::HashMap;
use std::collections::HashSet;

use lamina_types::LayerId;

/// The results that are stored.
pub(super) struct ResultGraph<R> {
    results: Vec<StoredResult<R>>,
    /// Indices of the results that are about a layer.
    about: HashMap<LayerId, Vec<usize>>,
    /// How many results keep a layer from going.
    blocked: HashMap<LayerId, usize>,
    parents: HashMap<LayerId, Option<LayerId>>,
}

struct StoredResult<R> {
    /// What to forget; `None` once it is.
    record: Option<R>,
    layers: Vec<LayerId>,
}

impl<R> ResultGraph<R> {
    /// Takes in results, oldest first.
    pub(super) fn new(results: impl IntoIterator<Item = (R, Vec<LayerId>)>) -> Self {
        let mut graph = Self {
            results: Vec::new(),
            about: HashMap::new(),
            blocked: HashMap::new(),
            parents: HashMap::new(),
        };
        for (record, layers) in results {
            graph.add(record, layers);
        }
        graph
    }

    fn add(&mut self, record: R, layers: Vec<LayerId>) {
        let Some(&top) = layers.last() else {
            return;
        };
        let mut below = None;
        for &layer in &layers {
            // The first result with a layer is the one that it was made in.
            self.parents.entry(layer).or_insert(below);
            below = Some(layer);
        }
        for layer in others(&layers) {
            *self.blocked.entry(layer).or_default() += 1;
        }
        self.about.entry(top).or_default().push(self.results.len());
        let record = Some(record);
        self.results.push(StoredResult { record, layers });
    }

    /// Returns the layer that a layer was made on top of.
    pub(super) fn parent(&self, layer: LayerId) -> Option<LayerId> {
        self.parents.get(&layer).copied().flatten()
    }

    /// Says whether no result is left that needs the layer and is about another one.
    pub(super) fn is_free(&self, layer: LayerId) -> bool {
        self.blocked.get(&layer).is_none_or(|count| *count == 0)
    }

    /// Removes a layer; returns what to forget, and the layers that nothing keeps any more.
    pub(super) fn remove(&mut self, layer: LayerId) -> (Vec<R>, Vec<LayerId>) {
        let (mut forgotten, mut freed) = (Vec::new(), Vec::new());
        for index in self.about.remove(&layer).unwrap_or_default() {
            let result = &mut self.results[index];
            forgotten.extend(result.record.take());
            for other in others(&result.layers) {
                if let Some(count) = self.blocked.get_mut(&other) {
                    *count -= 1;
                    freed.extend((*count == 0).then_some(other));
                }
            }
        }
        freed.sort_unstable();
        (forgotten, freed)
    }
}

/// Returns the layers of a result that it is not about, each once.
fn others(layers: &[LayerId]) -> HashSet<LayerId> {
    let mut others: HashSet<LayerId> = layers.iter().copied().collect();
    if let Some(top) = layers.last() {
        others.remove(top);
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(results: &[(&'static str, &[u64])]) -> ResultGraph<&'static str> {
        let ids = |layers: &[u64]| layers.iter().copied().map(LayerId).collect();
        ResultGraph::new(results.iter().map(|(name, layers)| (*name, ids(layers))))
    }

    #[test]
    fn layers_go_from_the_top() {
        let mut graph = graph(&[("base", &[1]), ("a", &[1, 2]), ("b", &[1, 2, 3])]);
        let free = |graph: &ResultGraph<_>| [1, 2, 3].map(|layer| graph.is_free(LayerId(layer)));
        assert_eq!(free(&graph), [false, false, true]);
        assert_eq!(graph.remove(LayerId(3)), (vec!["b"], vec![LayerId(2)]));
        assert_eq!(free(&graph), [false, true, true]);
        assert_eq!(graph.remove(LayerId(2)), (vec!["a"], vec![LayerId(1)]));
        assert_eq!(graph.remove(LayerId(1)), (vec!["base"], vec![]));
        assert_eq!(graph.remove(LayerId(1)), (vec![], vec![]));
    }

    #[test]
    fn a_merge_goes_before_its_parts() {
        let mut graph = graph(&[("a", &[1]), ("b", &[2]), ("merge", &[1, 2])]);
        assert!(!graph.is_free(LayerId(1)));
        assert!(graph.is_free(LayerId(2)));
        assert_eq!(graph.remove(LayerId(2)).0, ["b", "merge"]);
        assert!(graph.is_free(LayerId(1)));
    }

    #[test]
    fn parents_are_what_layers_were_made_on() {
        let graph = graph(&[("image", &[1, 2]), ("link", &[3]), ("merge", &[1, 2, 3])]);
        let parents = [1, 2, 3, 4].map(|layer| graph.parent(LayerId(layer)));
        assert_eq!(parents, [None, Some(LayerId(1)), None, None]);
    }

    #[test]
    fn repeated_layers_block_once() {
        let mut graph = graph(&[("a", &[1]), ("b", &[1, 2, 1, 2])]);
        assert!(!graph.is_free(LayerId(1)));
        assert_eq!(graph.remove(LayerId(2)), (vec!["b"], vec![LayerId(1)]));
    }
}
