//! Small builders of definitions: sources, processes, file operations, merge and diff.
//!
//! A [`State`] is a tree that is yet to be made. Each method returns a new one and leaves the old
//! one as it is; equal states become one vertex.
//!
//! ```
//! use lamina_client::llb::State;
//!
//! let base = State::image("docker.io/library/alpine:3");
//! let built = base
//!     .run(["sh", "-c", "make"])
//!     .cwd("/src")
//!     .mount("/src", &State::local("context"))
//!     .root();
//! let definition = State::scratch().copy(&built, "/out", "/").definition();
//! assert_eq!(definition.def.len(), 5);
//! ```

mod run;

use std::collections::BTreeSet;
use std::sync::Arc;

use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_proto::pb::op::Op;
use lamina_types::Digest;
use lamina_types::Platform;
use prost::Message as _;

pub use run::Run;

/// What an input or output index is when there is none.
const NONE: i64 = -1;

/// What a mode or a time is when it is not set.
const UNSET: i64 = -1;

/// A tree that is yet to be made.
#[derive(Clone, Debug, Default)]
pub struct State(Option<Output>);

#[derive(Clone, Debug)]
struct Output {
    vertex: Arc<Vertex>,
    index: i64,
}

#[derive(Debug)]
struct Vertex {
    bytes: Vec<u8>,
    digest: String,
    metadata: pb::OpMetadata,
    inputs: Vec<Arc<Self>>,
}

impl State {
    /// Returns the empty tree.
    #[must_use]
    pub fn scratch() -> Self {
        Self(None)
    }

    /// Returns the tree of an image, by its full reference.
    #[must_use]
    pub fn image(reference: &str) -> Self {
        Self::source(&format!("docker-image://{reference}"), &[], None)
    }

    /// Returns the tree of an image for a platform.
    #[must_use]
    pub fn image_for(reference: &str, platform: &Platform) -> Self {
        Self::source(&format!("docker-image://{reference}"), &[], Some(platform))
    }

    /// Returns a directory of the client.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self::source(&format!("local://{name}"), &[], None)
    }

    /// Returns any source by its identifier and attributes.
    #[must_use]
    pub fn source(identifier: &str, attrs: &[(&str, &str)], platform: Option<&Platform>) -> Self {
        let attrs = attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let source = pb::SourceOp {
            identifier: identifier.to_owned(),
            attrs: attrs.collect(),
        };
        Vertex::add(Op::Source(source), &Inputs::default(), platform).output(0)
    }

    /// Stacks trees, later ones over earlier ones.
    #[must_use]
    pub fn merge(states: &[Self]) -> Self {
        let mut inputs = Inputs::default();
        let indexes: Vec<i64> = states.iter().map(|state| inputs.push(state)).collect();
        let merge = pb::MergeOp {
            inputs: indexes
                .into_iter()
                .map(|input| pb::MergeInput { input })
                .collect(),
        };
        Vertex::add(Op::Merge(merge), &inputs, None).output(0)
    }

    /// Returns what `upper` changed in `lower`.
    #[must_use]
    pub fn diff(lower: &Self, upper: &Self) -> Self {
        let mut inputs = Inputs::default();
        let lower = inputs.push(lower);
        let upper = inputs.push(upper);
        let diff = pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: lower }),
            upper: Some(pb::UpperDiffInput { input: upper }),
        };
        Vertex::add(Op::Diff(diff), &inputs, None).output(0)
    }

    /// Starts describing a process whose root is this tree.
    #[must_use]
    pub fn run<A: Into<String>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        Run::new(self, args.into_iter().map(Into::into).collect())
    }

    /// Makes a file.
    #[must_use]
    pub fn mkfile(&self, path: &str, mode: i32, data: impl Into<Vec<u8>>) -> Self {
        self.file(Action::Mkfile(pb::FileActionMkFile {
            path: path.to_owned(),
            mode,
            data: data.into(),
            owner: None,
            timestamp: UNSET,
        }))
    }

    /// Makes a directory and those above it.
    #[must_use]
    pub fn mkdir(&self, path: &str, mode: i32) -> Self {
        self.file(Action::Mkdir(pb::FileActionMkDir {
            path: path.to_owned(),
            mode,
            make_parents: true,
            owner: None,
            timestamp: UNSET,
        }))
    }

    /// Removes a file or a directory with its content; its absence is an error.
    #[must_use]
    pub fn rm(&self, path: &str) -> Self {
        self.file(Action::Rm(pb::FileActionRm {
            path: path.to_owned(),
            allow_not_found: false,
            allow_wildcard: false,
        }))
    }

    /// Copies from another tree: of a directory its content, with wildcards in the source.
    #[must_use]
    pub fn copy(&self, from: &Self, source: &str, destination: &str) -> Self {
        let copy = pb::FileActionCopy {
            src: source.to_owned(),
            dest: destination.to_owned(),
            mode: -1,
            follow_symlink: true,
            dir_copy_contents: true,
            create_dest_path: true,
            allow_wildcard: true,
            timestamp: UNSET,
            ..pb::FileActionCopy::default()
        };
        self.file_from(Action::Copy(copy), from)
    }

    /// Does one file operation as it is given, which reads from another tree.
    #[must_use]
    pub fn file_from(&self, action: Action, from: &Self) -> Self {
        self.file_with(action, Some(from))
    }

    /// Does one file operation as it is given.
    #[must_use]
    pub fn file(&self, action: Action) -> Self {
        self.file_with(action, None)
    }

    fn file_with(&self, action: Action, from: Option<&Self>) -> Self {
        let mut inputs = Inputs::default();
        let input = inputs.push(self);
        let secondary_input = from.map_or(NONE, |from| inputs.push(from));
        let action = pb::FileAction {
            input,
            secondary_input,
            output: 0,
            action: Some(action),
        };
        Self::file_op(vec![action], &inputs)
    }

    /// Does file operations one after the other in a single step; there must be one at least.
    #[must_use]
    pub fn files(&self, actions: impl IntoIterator<Item = Action>) -> Self {
        let mut inputs = Inputs::default();
        let first = inputs.push(self);
        let inputs_count = i64::try_from(inputs.0.len()).unwrap_or(NONE);
        let actions = (0..)
            .zip(actions)
            .map(|(at, action): (i64, Action)| pb::FileAction {
                // Results of actions are counted after the inputs.
                input: if at == 0 {
                    first
                } else {
                    inputs_count + at - 1
                },
                secondary_input: NONE,
                output: NONE,
                action: Some(action),
            });
        let mut actions: Vec<pb::FileAction> = actions.collect();
        if let Some(last) = actions.last_mut() {
            last.output = 0;
        }
        Self::file_op(actions, &inputs)
    }

    fn file_op(actions: Vec<pb::FileAction>, inputs: &Inputs) -> Self {
        let file = pb::FileOp { actions };
        Vertex::add(Op::File(file), inputs, None).output(0)
    }

    /// Returns the digest of the vertex that makes the tree; `None` for the empty tree.
    #[must_use]
    pub fn vertex(&self) -> Option<&str> {
        self.0.as_ref().map(|output| &output.vertex.digest[..])
    }

    /// Changes what is said of the last vertex beside its digest: its name, whether its cache is
    /// passed by (row LLB-09).
    #[must_use]
    pub fn describe(&self, change: impl FnOnce(&mut pb::OpMetadata)) -> Self {
        let Some(output) = &self.0 else {
            return Self(None);
        };
        let mut metadata = output.vertex.metadata.clone();
        change(&mut metadata);
        let vertex = Vertex {
            bytes: output.vertex.bytes.clone(),
            digest: output.vertex.digest.clone(),
            metadata,
            inputs: output.vertex.inputs.clone(),
        };
        Self(Some(Output {
            vertex: Arc::new(vertex),
            index: output.index,
        }))
    }

    /// Sets the name that progress shows.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let name = name.to_owned();
        self.describe(|metadata| {
            metadata
                .description
                .insert("llb.customname".to_owned(), name);
        })
    }

    /// Marshals the tree: inputs first, and a last vertex that names the result. The empty tree is
    /// an empty definition.
    #[must_use]
    pub fn definition(&self) -> pb::Definition {
        let Some(output) = &self.0 else {
            return pb::Definition::default();
        };
        let mut definition = pb::Definition {
            // There is none, but other daemons count on the field.
            source: Some(pb::Source::default()),
            ..pb::Definition::default()
        };
        for vertex in inputs_first(&output.vertex) {
            definition.def.push(vertex.bytes.clone());
            let (digest, metadata) = (vertex.digest.clone(), vertex.metadata.clone());
            definition.metadata.insert(digest, metadata);
        }
        let terminal = pb::Op {
            inputs: vec![output.wire()],
            ..pb::Op::default()
        };
        let bytes = terminal.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        definition
            .metadata
            .insert(digest, pb::OpMetadata::default());
        definition.def.push(bytes);
        definition
    }
}

/// Returns each vertex once, in an order in which inputs come first.
fn inputs_first(last: &Arc<Vertex>) -> Vec<&Arc<Vertex>> {
    let (mut ordered, mut done) = (Vec::new(), BTreeSet::new());
    let mut open = vec![(last, false)];
    while let Some((vertex, inputs_done)) = open.pop() {
        if done.contains(&vertex.digest) {
            continue;
        }
        if inputs_done {
            done.insert(&vertex.digest);
            ordered.push(vertex);
        } else {
            open.push((vertex, true));
            open.extend(vertex.inputs.iter().rev().map(|input| (input, false)));
        }
    }
    ordered
}

impl Output {
    fn wire(&self) -> pb::Input {
        pb::Input {
            digest: self.vertex.digest.clone(),
            index: self.index,
        }
    }
}

impl Vertex {
    fn add(op: Op, inputs: &Inputs, platform: Option<&Platform>) -> Arc<Self> {
        let op = pb::Op {
            inputs: inputs.0.iter().map(Output::wire).collect(),
            platform: platform.map(pb::Platform::from),
            constraints: Some(pb::WorkerConstraints::default()),
            op: Some(op),
        };
        let bytes = op.encode_to_vec();
        Arc::new(Self {
            digest: Digest::of(&bytes).to_string(),
            bytes,
            metadata: pb::OpMetadata::default(),
            inputs: inputs
                .0
                .iter()
                .map(|input| Arc::clone(&input.vertex))
                .collect(),
        })
    }

    fn output(self: Arc<Self>, index: i64) -> State {
        State(Some(Output {
            vertex: self,
            index,
        }))
    }
}

/// The inputs of a vertex, each once.
#[derive(Clone, Debug, Default)]
struct Inputs(Vec<Output>);

impl Inputs {
    /// Returns the index of a state among the inputs; the empty tree has none.
    fn push(&mut self, state: &State) -> i64 {
        let Some(output) = &state.0 else { return NONE };
        let same = |known: &Output| {
            known.vertex.digest == output.vertex.digest && known.index == output.index
        };
        let index = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(output.clone());
            self.0.len() - 1
        });
        i64::try_from(index).unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests;
