//! Instructions to LLB: a graph of vertices that becomes a definition (rows LLB-01 to LLB-14).
//!
//! Vertices are added in an order in which inputs come first. Nothing is marshalled before
//! [`Graph::definition`], so that the sources of local directories can still be narrowed to the
//! paths that turned out to be used (row FDF-47).

mod exec;
mod file;
mod import;
mod source;

pub(crate) use exec::ExecBuilder;
pub(crate) use exec::Place;
pub(crate) use file::CopyOptions;
pub(crate) use file::FileBuilder;
pub(crate) use file::owner;
pub(crate) use source::LocalSource;
pub(crate) use source::git;
pub(crate) use source::http;
pub(crate) use source::image;
pub(crate) use source::is_url;
pub(crate) use source::local;
pub(crate) use source::oci_layout;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;
use prost::Message;

use crate::lines::Lines;

/// What an input or output index is when there is none.
pub(crate) const NONE: i64 = -1;

/// A vertex, by its place in the graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct VertexId(usize);

/// An output of a vertex. `None` in its place stands for scratch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Output {
    pub(crate) vertex: VertexId,
    pub(crate) index: i64,
}

impl Output {
    /// Returns the first output.
    pub(crate) fn of(vertex: VertexId) -> Self {
        Self { vertex, index: 0 }
    }
}

/// An operation and what is said of it beside its digest.
#[derive(Clone, Debug)]
pub(crate) struct Vertex {
    pub(crate) op: pb::op::Op,
    pub(crate) inputs: Vec<Output>,
    pub(crate) platform: Option<Platform>,
    pub(crate) metadata: pb::OpMetadata,
    pub(crate) lines: Option<Lines>,
}

impl Vertex {
    pub(crate) fn new(op: pb::op::Op) -> Self {
        Self {
            op,
            inputs: Vec::new(),
            platform: None,
            metadata: pb::OpMetadata::default(),
            lines: None,
        }
    }

    /// Sets the name that progress shows (row DFL-07).
    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.describe("llb.customname", name);
        self
    }

    /// Adds to the description.
    pub(crate) fn describe(&mut self, key: &str, value: impl Into<String>) {
        self.metadata
            .description
            .insert(key.to_owned(), value.into());
    }

    /// Names a capability that the engine must have.
    pub(crate) fn needs(&mut self, cap: &str) {
        self.metadata.caps.insert(cap.to_owned(), true);
    }

    /// Sets where the vertex comes from.
    pub(crate) fn at(mut self, lines: Option<Lines>) -> Self {
        self.lines = lines;
        self
    }

    /// Sets whether the cache is passed by.
    pub(crate) fn ignoring_cache(mut self, ignore: bool) -> Self {
        self.metadata.ignore_cache = ignore;
        self
    }

    /// Returns about how many bytes this takes.
    fn bytes(&self) -> usize {
        let description = self.metadata.description.iter();
        let description = description.map(|(key, value)| key.len() + value.len());
        self.op.encoded_len() + description.sum::<usize>() + size_of::<Self>()
    }

    /// Returns the index of `output` among the inputs, adding it if it is new.
    pub(crate) fn input(&mut self, output: Option<Output>) -> i64 {
        let Some(output) = output else { return NONE };
        let known = self.inputs.iter().position(|known| *known == output);
        let index = known.unwrap_or_else(|| {
            self.inputs.push(output);
            self.inputs.len() - 1
        });
        i64::try_from(index).unwrap_or(NONE)
    }
}

/// The vertices of one build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    vertices: Vec<Vertex>,
    bytes: usize,
}

impl Graph {
    /// Adds a vertex whose inputs are in the graph already.
    pub(crate) fn add(&mut self, vertex: Vertex) -> VertexId {
        self.bytes = self.bytes.saturating_add(vertex.bytes());
        self.vertices.push(vertex);
        VertexId(self.vertices.len() - 1)
    }

    /// Returns about how many bytes all vertices take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces a vertex by one with the same inputs or none.
    pub(crate) fn replace(&mut self, id: VertexId, vertex: Vertex) {
        self.vertices[id.0] = vertex;
    }

    /// Marshals what `result` depends on; empty for scratch.
    ///
    /// `file` is the source that the vertices' lines are lines of.
    pub(crate) fn into_definition(
        mut self,
        result: Option<Output>,
        file: Option<&pb::SourceInfo>,
    ) -> pb::Definition {
        let Some(result) = result else {
            return pb::Definition::default();
        };
        let mut marshal = Marshal::default();
        for id in self.reachable(result.vertex) {
            marshal.vertex(id, self.take(id));
        }
        marshal.finish(result, file)
    }

    /// Takes a vertex out; a vertex of nothing stays.
    fn take(&mut self, id: VertexId) -> Vertex {
        let empty = Vertex::new(pb::op::Op::File(pb::FileOp::default()));
        std::mem::replace(&mut self.vertices[id.0], empty)
    }

    /// Says whether `result` depends on a process without a command.
    pub(crate) fn lacks_command(&self, result: Option<Output>) -> bool {
        let needed = result
            .map(|result| self.reachable(result.vertex))
            .unwrap_or_default();
        needed.into_iter().any(|id| match &self.vertices[id.0].op {
            pb::op::Op::Exec(exec) => exec.meta.as_ref().is_none_or(|meta| meta.args.is_empty()),
            _ => false,
        })
    }

    /// Returns `id` and all that it depends on, inputs first.
    fn reachable(&self, id: VertexId) -> BTreeSet<VertexId> {
        let mut reachable = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if reachable.insert(id) {
                open.extend(self.vertices[id.0].inputs.iter().map(|input| input.vertex));
            }
        }
        reachable
    }
}

#[derive(Default)]
struct Marshal {
    definition: pb::Definition,
    digests: BTreeMap<VertexId, String>,
    locations: BTreeMap<String, pb::Locations>,
}

impl Marshal {
    fn vertex(&mut self, id: VertexId, vertex: Vertex) {
        let op = pb::Op {
            inputs: vertex
                .inputs
                .iter()
                .map(|input| self.input(*input))
                .collect(),
            platform: vertex.platform.as_ref().map(pb::Platform::from),
            constraints: Some(pb::WorkerConstraints::default()),
            op: Some(vertex.op),
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        match self.definition.metadata.get_mut(&digest) {
            Some(known) => merge_metadata(known, vertex.metadata),
            None => {
                self.definition.def.push(bytes);
                let metadata = &mut self.definition.metadata;
                metadata.insert(digest.clone(), vertex.metadata);
            }
        }
        if let Some(lines) = vertex.lines {
            let location = pb::Location {
                source_index: 0,
                ranges: lines.to_ranges(),
            };
            self.locations
                .entry(digest.clone())
                .or_default()
                .locations
                .push(location);
        }
        self.digests.insert(id, digest);
    }

    fn input(&self, output: Output) -> pb::Input {
        pb::Input {
            digest: self
                .digests
                .get(&output.vertex)
                .cloned()
                .unwrap_or_default(),
            index: output.index,
        }
    }

    /// Adds the terminal vertex, which names the result.
    fn finish(mut self, result: Output, file: Option<&pb::SourceInfo>) -> pb::Definition {
        let terminal = pb::Op {
            inputs: vec![self.input(result)],
            ..pb::Op::default()
        };
        let bytes = terminal.encode_to_vec();
        let mut metadata = pb::OpMetadata::default();
        for cap in ["constraints", "platform", "meta.description"] {
            metadata.caps.insert(cap.to_owned(), true);
        }
        if self
            .definition
            .metadata
            .values()
            .any(|metadata| metadata.ignore_cache)
        {
            metadata.caps.insert("meta.ignorecache".to_owned(), true);
        }
        self.definition
            .metadata
            .insert(Digest::of(&bytes).to_string(), metadata);
        self.definition.def.push(bytes);
        self.definition.source = file.map(|file| pb::Source {
            locations: self.locations,
            infos: vec![file.clone()],
        });
        self.definition
    }
}

/// Joins what is said of two vertices that turned out to be the same operation.
fn merge_metadata(known: &mut pb::OpMetadata, other: pb::OpMetadata) {
    known.ignore_cache |= other.ignore_cache;
    known.description.extend(other.description);
    known.caps.extend(other.caps);
    known.progress_group = other.progress_group.or(known.progress_group.take());
    known.linux_resources = other.linux_resources.or(known.linux_resources.take());
}

#[cfg(test)]
mod tests;
