//! Results of steps.

use std::collections::HashSet;
use std::sync::Arc;

use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_types::CancelToken;

/// Longest chain that is remembered: merging a tree with itself doubles its chain.
const MAX_CHAIN: usize = 4_096;

/// What a step made: a tree, as a list of sealed layers. Empty = scratch.
///
/// A stack has no layer twice, but a Diff that asks what was added to a tree has to know how the
/// tree was put together (row OPS-06): in `merge(a, b, a)` on top of `a`, the second `a` was added.
/// So where a Merge repeats layers, the list with the repeats, the *chain*, is kept beside.
#[derive(Clone, Default)]
pub struct Snapshot {
    stack: LayerStack,
    /// `None` = the stack's layers.
    chain: Option<Arc<[Layer]>>,
}

impl From<LayerStack> for Snapshot {
    fn from(stack: LayerStack) -> Self {
        Self { stack, chain: None }
    }
}

impl Snapshot {
    pub(crate) fn with_chain(stack: LayerStack, chain: Vec<Layer>) -> Self {
        let ids = |layers: &[Layer]| layers.iter().map(Layer::id).collect::<Vec<_>>();
        let plain = chain.len() > MAX_CHAIN || ids(&chain) == ids(stack.layers());
        Self {
            stack,
            chain: (!plain).then(|| chain.into()),
        }
    }

    /// Returns the tree.
    #[must_use]
    pub fn stack(&self) -> &LayerStack {
        &self.stack
    }

    /// Returns the layers as they were put together, bottom first.
    pub(crate) fn chain(&self) -> &[Layer] {
        self.chain.as_deref().unwrap_or(self.stack.layers())
    }

    pub(crate) fn repeats_layers(&self) -> bool {
        self.chain.is_some()
    }

    /// Names the tree in messages: the id of its topmost layer.
    pub(crate) fn label(&self) -> String {
        let top = self.stack.layers().last();
        top.map_or_else(|| "scratch".to_owned(), |layer| layer.id().to_string())
    }

    /// Returns this tree with a layer on top.
    pub(crate) fn push(&self, layer: Layer) -> Self {
        let chain = self
            .chain()
            .iter()
            .cloned()
            .chain([layer.clone()])
            .collect();
        Self::with_chain(self.stack.push(layer), chain)
    }

    /// Stacks trees, later ones on top (row OPS-04).
    pub(crate) fn merge(
        store: &SnapshotStore,
        parts: &[Self],
        cancel: &CancelToken,
    ) -> Result<Self, SnapshotError> {
        let stacks: Vec<LayerStack> = parts.iter().map(|part| part.stack.clone()).collect();
        let merged = store.merge(&stacks, cancel)?;
        let mut chain: Vec<Layer> = parts.iter().flat_map(Self::chain).cloned().collect();
        // What merging itself adds (metadata of parents) lies on top.
        let known: HashSet<_> = chain.iter().map(Layer::id).collect();
        let added = merged
            .layers()
            .iter()
            .filter(|layer| !known.contains(&layer.id()));
        chain.extend(added.cloned());
        Ok(Self::with_chain(merged, chain))
    }

    /// Returns what turns `lower` into `upper` (row OPS-06).
    pub(crate) fn diff(
        store: &SnapshotStore,
        lower: &Self,
        upper: &Self,
        cancel: &CancelToken,
    ) -> Result<Self, SnapshotError> {
        if lower.stack.is_empty() {
            return Ok(upper.clone());
        }
        let chains = lower.repeats_layers() || upper.repeats_layers();
        let (base, chain) = (lower.chain(), upper.chain());
        let extends =
            chain.len() >= base.len() && base.iter().zip(chain).all(|(a, b)| a.id() == b.id());
        if !chains || !extends {
            return Ok(store.diff(&lower.stack, &upper.stack, cancel)?.into());
        }
        let added = &chain[base.len()..];
        let single = |layer: &Layer| Self::from(LayerStack::new([layer.clone()]));
        Self::merge(store, &added.iter().map(single).collect::<Vec<_>>(), cancel)
    }
}
