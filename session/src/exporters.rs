//! Exporters that the client chooses when it knows the result (row SVC-18).
//!
//! ```text
//! build                         client
//! result is known     ──────►   find_exporters(metadata, references)
//! exporters run       ◄──────   the exporters that it wants beside those of its request
//! all have finished   ──────►   finalize_export(response)
//! ```
//! While it is asked, a client that drives its build can read the references through the gateway.

use std::collections::BTreeMap;

/// What a client is told of a result before it chooses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExportableResult {
    /// The metadata of the result.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// Ids of what the result consists of, as the gateway knows them; scratch has none.
    pub references: Vec<String>,
}

/// An exporter that a client asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChosenExporter {
    /// `image`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// Attributes of that kind.
    pub attrs: BTreeMap<String, String>,
}
