//! Marshalled LLB definitions as the user gives them.

use std::io::IsTerminal as _;
use std::io::Read;

use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::IoContext as _;
use prost::Message as _;

use crate::error::CliError;

/// A definition may not be larger than this.
const MAX_BYTES: u64 = 256 << 20;

/// Reads standard input.
pub(crate) fn from_stdin() -> Result<pb::Definition, CliError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::NoDefinition);
    }
    read(stdin.lock(), "standard input")
}

/// Reads a definition; errors of the system are about `name`.
pub(crate) fn read(input: impl Read, name: &str) -> Result<pb::Definition, CliError> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES).read_to_end(&mut bytes).at(name)?;
    if bytes.is_empty() {
        return Err(CliError::EmptyDefinition);
    }
    pb::Definition::decode(bytes.as_slice()).map_err(CliError::BadDefinition)
}

/// Marks every vertex not to be taken from the cache (row CLI-03).
pub(crate) fn ignore_cache(definition: &mut pb::Definition) {
    for op in &definition.def {
        let digest = Digest::of(op).to_string();
        definition.metadata.entry(digest).or_default().ignore_cache = true;
    }
}
