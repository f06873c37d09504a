//! Places and files in answers: the JSON that the messages of the wire have in Go, whose names and
//! empty members it leaves out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_proto::pb;
use serde::Serialize;
use serde::Serializer;

use crate::lines::Lines;

/// Where something is in the file, a range for each line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Position {
    #[serde(skip_serializing_if = "is_zero")]
    line: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(line: &u32) -> bool {
    *line == 0
}

impl Location {
    /// Returns the place of `lines`.
    pub(crate) fn of(lines: Lines) -> Self {
        Self::of_all(&[lines])
    }

    /// Returns the place of several runs of lines; a line that is in two is named once.
    pub(crate) fn of_all(places: &[Lines]) -> Self {
        let mut lines: Vec<u32> = places
            .iter()
            .flat_map(|lines| lines.first..=lines.last)
            .collect();
        lines.sort_unstable();
        lines.dedup();
        let range = |line| Range {
            start: Position { line },
            end: Position { line },
        };
        Self {
            ranges: lines.into_iter().map(range).collect(),
        }
    }
}

/// A file that answers point into.
#[derive(Debug, Serialize)]
pub(super) struct SourceFile {
    #[serde(skip_serializing_if = "String::is_empty")]
    filename: String,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    data: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    language: String,
}

/// How the file was loaded.
#[derive(Debug, Serialize)]
struct Definition {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    def: Vec<Bytes>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Metadata>,
}

/// What a source can have of an op's metadata.
#[derive(Debug, Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    description: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    caps: BTreeMap<String, bool>,
}

/// Bytes that JSON has in base64.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl SourceFile {
    pub(super) fn new(info: &pb::SourceInfo) -> Self {
        Self {
            filename: info.filename.clone(),
            data: Bytes::new(&info.data),
            definition: info.definition.as_ref().map(Definition::new),
            language: info.language.clone(),
        }
    }
}

impl Definition {
    fn new(definition: &pb::Definition) -> Self {
        let metadata = |(digest, op): (&String, &pb::OpMetadata)| {
            let metadata = Metadata {
                description: op.description.clone().into_iter().collect(),
                caps: op.caps.clone().into_iter().collect(),
            };
            (digest.clone(), metadata)
        };
        Self {
            def: definition.def.iter().map(|op| Bytes::new(op)).collect(),
            metadata: definition.metadata.iter().map(metadata).collect(),
        }
    }
}
