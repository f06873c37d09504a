//! Exporters that the client chooses when it knows the result (row SVC-18).

use std::collections::BTreeMap;

use lamina_proto::exporter::ExporterRequest;
use lamina_proto::exporter::FinalizeExportRequest;
use lamina_proto::exporter::FindExportersRequest;
use lamina_proto::exporter::exporter_client::ExporterClient;
use tonic::Code;

use super::client;
use super::link::Link;
use crate::ChosenExporter;
use crate::ExportableResult;
use crate::SessionError;

pub(super) async fn find(
    link: &Link,
    result: &ExportableResult,
) -> Result<Vec<ChosenExporter>, SessionError> {
    let mut client = client!(ExporterClient, link);
    let call = client.find_exporters(FindExportersRequest {
        metadata: result.metadata.clone(),
        refs: result.references.clone(),
    });
    match link.call(call).await? {
        Ok(answer) => Ok(answer
            .into_inner()
            .exporters
            .into_iter()
            .map(chosen)
            .collect()),
        Err(status) if is_none(status.code()) => Ok(Vec::new()),
        Err(status) => Err(SessionError::from_status(status)),
    }
}

pub(super) async fn finalize(
    link: &Link,
    response: &BTreeMap<String, String>,
) -> Result<(), SessionError> {
    let mut client = client!(ExporterClient, link);
    let call = client.finalize_export(FinalizeExportRequest {
        exporter_response: response.clone(),
    });
    match link.call(call).await? {
        Err(status) if !is_none(status.code()) => Err(SessionError::from_status(status)),
        _ => Ok(()),
    }
}

/// The client has nothing to say: no such service, or nothing behind it.
fn is_none(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unimplemented)
}

fn chosen(exporter: ExporterRequest) -> ChosenExporter {
    ChosenExporter {
        kind: exporter.r#type,
        attrs: exporter.attrs,
    }
}
