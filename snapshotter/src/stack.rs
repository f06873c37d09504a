//! Lists of layers.

use std::collections::HashSet;
use std::sync::Arc;

use lamina_types::LayerId;

use crate::store::Layer;
use crate::tree::Tree;

/// Layers, bottom first, without repeats; means what mounting them would show. Cheap to clone.
#[derive(Clone, Default)]
pub struct LayerStack(Option<Arc<[Layer]>>);

impl LayerStack {
    /// Returns the stack of no layers: an empty directory.
    #[must_use]
    pub fn empty() -> Self {
        Self(None)
    }

    /// Stacks `layers`, bottom first; of a layer that comes twice only the topmost stays, which
    /// shows the same tree.
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Self {
        let all: Vec<Layer> = layers.into_iter().collect();
        let mut seen = HashSet::new();
        let mut kept: Vec<Layer> = all
            .into_iter()
            .rev()
            .filter(|layer| seen.insert(layer.id()))
            .collect();
        kept.reverse();
        Self((!kept.is_empty()).then(|| kept.into()))
    }

    /// Returns the layers, bottom first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        self.0.as_deref().unwrap_or(&[])
    }

    /// Returns this stack with `layer` on top.
    #[must_use]
    pub fn push(&self, layer: Layer) -> Self {
        Self::new(self.layers().iter().cloned().chain([layer]))
    }

    /// Says whether there are no layers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns a reader of the merged tree, which mounts nothing.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::of_stack(self.clone())
    }

    /// Returns the ids, bottom first.
    #[must_use]
    pub fn ids(&self) -> Vec<LayerId> {
        self.layers().iter().map(Layer::id).collect()
    }
}

impl PartialEq for LayerStack {
    fn eq(&self, other: &Self) -> bool {
        self.layers().len() == other.layers().len()
            && self
                .layers()
                .iter()
                .map(Layer::id)
                .eq(other.layers().iter().map(Layer::id))
    }
}

impl Eq for LayerStack {}

impl std::fmt::Debug for LayerStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}
