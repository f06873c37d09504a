//! References: trees that a build has made, or could make (rows GW-22, GW-23).

use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;

use lamina_proto::pb;
use lamina_solver::Edge;
use tokio::sync::OnceCell;

use super::Inner;
use crate::BuildError;
use crate::Snapshot;
use crate::ops::BuildContext;

/// Something solved or to be solved within one build; its definition re-creates it. Lazy until
/// read or exported.
#[derive(Clone)]
pub struct Reference(Arc<Lazy>);

struct Lazy {
    origin: Origin,
    result: OnceCell<Result<Snapshot, BuildError>>,
}

enum Origin {
    Loaded(Loaded),
    /// Of another engine: only its definition is known here.
    Foreign(pb::Definition),
    /// What a failed op left: nothing re-creates it (row ERR-03).
    Fixed(Snapshot),
}

/// The definition of what has none.
static NO_DEFINITION: LazyLock<pb::Definition> = LazyLock::new(pb::Definition::default);

/// A definition that was validated.
pub(super) struct Loaded {
    pub(super) definition: pb::Definition,
    pub(super) edge: Edge<Snapshot, BuildContext>,
    /// Cache mounts that are emptied before the first step (row LLB-07).
    pub(super) emptied: Vec<(String, bool)>,
}

impl Reference {
    pub(super) fn new(loaded: Loaded) -> Self {
        Self::of(Origin::Loaded(loaded))
    }

    /// Returns a reference for a [`Bridge`](crate::Bridge) that is not a build's of this process.
    /// A build refuses it.
    #[must_use]
    pub fn foreign(definition: pb::Definition) -> Self {
        Self::of(Origin::Foreign(definition))
    }

    /// Returns a reference for a tree that is there already.
    pub(crate) fn fixed(snapshot: Snapshot) -> Self {
        Self::of(Origin::Fixed(snapshot))
    }

    fn of(origin: Origin) -> Self {
        Self(Arc::new(Lazy {
            origin,
            result: OnceCell::new(),
        }))
    }

    /// Says whether `other` is the same reference, not just one of an equal tree.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the definition, as received; empty for what a failed op left.
    #[must_use]
    pub fn definition(&self) -> &pb::Definition {
        match &self.0.origin {
            Origin::Loaded(loaded) => &loaded.definition,
            Origin::Foreign(definition) => definition,
            Origin::Fixed(_) => &NO_DEFINITION,
        }
    }

    /// Returns what it solves to; `None` for what is not solved in this build.
    pub(super) fn edge(&self) -> Option<Edge<Snapshot, BuildContext>> {
        match &self.0.origin {
            Origin::Loaded(loaded) => Some(loaded.edge.clone()),
            Origin::Foreign(_) | Origin::Fixed(_) => None,
        }
    }

    /// Solves at the first call; later ones get the same result, also the same error.
    pub(super) async fn evaluate(&self, build: &Inner) -> Result<Snapshot, BuildError> {
        let loaded = match &self.0.origin {
            Origin::Loaded(loaded) => loaded,
            Origin::Fixed(snapshot) => return Ok(snapshot.clone()),
            Origin::Foreign(_) => {
                return Err(BuildError::new("the reference is not one of this build"));
            }
        };
        let solve = || build.solve(loaded);
        self.0.result.get_or_init(solve).await.clone()
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.origin {
            Origin::Loaded(Loaded { edge, .. }) => {
                write!(f, "Reference({}@{})", edge.vertex.name, edge.output)
            }
            Origin::Foreign(_) => f.write_str("Reference(foreign)"),
            Origin::Fixed(_) => f.write_str("Reference(fixed)"),
        }
    }
}
