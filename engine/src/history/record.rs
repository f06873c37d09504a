//! What a record says (row CTL-21).
//!
//! Records outlive their builds and everybody who may build can read them, so URLs in options lose
//! their credentials. Cache options, which may hold keys, are not recorded at all.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamina_proto::control::BuildHistoryRecord;
use lamina_proto::control::BuildResultInfo;
use lamina_proto::control::Descriptor;
use lamina_proto::control::Exporter;
use lamina_proto::rpc;
use lamina_types::Digest;
use lamina_types::without_credentials;
use serde::Deserialize;

use crate::BuildRequest;
use crate::BuildSource;
use crate::builds::ExportResponses;
use crate::status::Counts;
use crate::status::timestamp;

/// Type of a stored log (row CTL-22).
const LOG_TYPE: &str = "application/vnd.buildkit.status.v0";
/// Type of a stored error; spelled like this by all.
const ERROR_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";
/// Where image exporters tell what they made (row EIM-18).
const DESCRIPTOR_KEY: &str = "containerimage.descriptor";

/// How a build ended.
pub(crate) struct Ending {
    pub(crate) outcome: Result<ExportResponses, rpc::Status>,
    pub(crate) counts: Counts,
}

/// Returns the record of a build that begins.
pub(crate) fn begun(id: &str, request: &BuildRequest) -> BuildHistoryRecord {
    let (frontend, attrs) = match &request.source {
        BuildSource::Definition(_) => (String::new(), BTreeMap::new()),
        BuildSource::Frontend { name, options, .. } => (name.clone(), shown(options)),
        BuildSource::Client { options, .. } => (String::new(), shown(options)),
    };
    let exporter = |export: &crate::ExportRequest| Exporter {
        r#type: export.kind.clone(),
        attrs: shown(&export.attrs),
    };
    BuildHistoryRecord {
        r#ref: id.to_owned(),
        frontend,
        frontend_attrs: attrs,
        exporters: request.exports.iter().map(exporter).collect(),
        created_at: Some(timestamp(SystemTime::now())),
        ..BuildHistoryRecord::default()
    }
}

/// Returns options as others may see them.
fn shown(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shown = |text: &String| without_credentials(text).into_owned();
    options
        .iter()
        .map(|(key, value)| (key.clone(), shown(value)))
        .collect()
}

/// Completes a record, but for its blobs.
pub(crate) fn complete(record: &mut BuildHistoryRecord, ending: &Ending) {
    record.completed_at = Some(timestamp(SystemTime::now()));
    record.num_total_steps = ending.counts.total;
    record.num_completed_steps = ending.counts.completed;
    record.num_cached_steps = ending.counts.cached;
    record.num_warnings = ending.counts.warnings;
    match &ending.outcome {
        Ok(responses) => {
            record.exporter_response = responses.merged();
            record.result = Some(results(responses));
        }
        Err(status) => {
            record.error = Some(rpc::Status {
                details: Vec::new(),
                ..status.clone()
            });
        }
    }
}

pub(super) fn log(digest: &Digest, bytes: u64) -> Descriptor {
    blob(LOG_TYPE, digest, bytes)
}

pub(super) fn external_error(digest: &Digest, bytes: u64) -> Descriptor {
    blob(ERROR_TYPE, digest, bytes)
}

/// Returns the digests of the blobs that belong to a record alone.
pub(super) fn blobs(record: &BuildHistoryRecord) -> impl Iterator<Item = Digest> {
    let blobs = [&record.logs, &record.external_error];
    blobs
        .into_iter()
        .flatten()
        .filter_map(|blob| blob.digest.parse().ok())
}

fn blob(media_type: &str, digest: &Digest, bytes: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        annotations: BTreeMap::new(),
    }
}

fn results(responses: &ExportResponses) -> BuildResultInfo {
    let exported = responses.by_exporter.iter().enumerate();
    let results: BTreeMap<i64, Descriptor> = exported
        .filter_map(|(index, keys)| Some((i64::try_from(index).ok()?, image(keys)?)))
        .collect();
    BuildResultInfo {
        result_deprecated: results.values().next().cloned(),
        results,
        ..BuildResultInfo::default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageDescriptor {
    media_type: String,
    digest: String,
    size: i64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Returns the image that an exporter says it made.
fn image(keys: &BTreeMap<String, String>) -> Option<Descriptor> {
    let json = BASE64_STANDARD.decode(keys.get(DESCRIPTOR_KEY)?).ok()?;
    let image: ImageDescriptor = serde_json::from_slice(&json).ok()?;
    Some(Descriptor {
        media_type: image.media_type,
        digest: image.digest,
        size: image.size,
        annotations: image.annotations,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lamina_session::LocalSession;

    use super::*;
    use crate::ExportRequest;

    #[test]
    fn no_record_has_credentials() {
        let secret = |key: &str| (key.to_owned(), "https://u:hunter2@h/x".to_owned());
        let options: BTreeMap<_, _> = [secret("context"), secret("build-arg:HTTP_PROXY")].into();
        let source = BuildSource::Frontend {
            name: "dockerfile.v0".to_owned(),
            options,
            inputs: BTreeMap::new(),
        };
        let session = Arc::new(LocalSession::builder().build());
        let mut request = BuildRequest::new(source, session);
        request.exports.push(ExportRequest {
            kind: "image".to_owned(),
            attrs: [secret("label")].into(),
        });
        let record = begun("id", &request);
        assert_eq!(record.frontend_attrs.len(), 2);
        assert!(!format!("{record:?}").contains("hunter2"), "{record:?}");
        assert_eq!(record.frontend_attrs["context"], "https://xxxxx:xxxxx@h/x");
    }
}
