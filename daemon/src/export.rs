//! Running the exporters of a build, each as a step that watchers see.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use lamina_exporters::ExportContext;
use lamina_exporters::ExportError;
use lamina_exporters::ExportInput;
use lamina_exporters::Exporter;
use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_session::Session;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;

use crate::Engine;
use crate::ExportRequest;

/// Metadata keys with this prefix go into the response (row RMD-08).
const FRONTEND_PREFIX: &str = "frontend.";

/// Makes the exporters, so that wrong attributes are refused before anything runs.
pub(crate) fn parse(requests: &[ExportRequest]) -> Result<Vec<Box<dyn Exporter>>, BuildError> {
    let exporters = requests.iter().enumerate().map(|(index, request)| {
        lamina_exporters::parse(&request.kind, &request.attrs, index).map_err(build_error)
    });
    exporters.collect()
}

/// Runs all exporters at once and merges what they answer (rows CSOL-09, CSOL-25).
pub(crate) async fn run(
    build: &Build,
    exporters: Vec<Box<dyn Exporter>>,
    input: &ExportInput,
    context: &ExportContext,
) -> Result<BTreeMap<String, String>, BuildError> {
    let exports = exporters.iter().enumerate().map(|(index, exporter)| {
        let context = context.clone();
        async move { run_one(build, index, exporter.as_ref(), input, context).await }
    });
    let mut response: BTreeMap<String, String> = input
        .metadata
        .iter()
        .filter(|(key, _)| key.starts_with(FRONTEND_PREFIX))
        .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    for keys in try_join_all(exports).await? {
        response.extend(keys);
    }
    Ok(response)
}

async fn run_one(
    build: &Build,
    index: usize,
    exporter: &dyn Exporter,
    input: &ExportInput,
    mut context: ExportContext,
) -> Result<BTreeMap<String, String>, BuildError> {
    let digest = Digest::of(format!("export {index}: {}", exporter.name()).as_bytes());
    let step = build.step(digest, exporter.name());
    context.progress = step.progress().clone();
    let exported = exporter.export(input, &context).await;
    let failure = exported.as_ref().err().map(ToString::to_string);
    step.finish(failure);
    exported.map_err(build_error)
}

fn build_error(error: ExportError) -> BuildError {
    if matches!(error, ExportError::Cancelled(_)) {
        return BuildError::cancelled();
    }
    BuildError::new(error.to_string())
}

impl Engine {
    pub(crate) fn export_context(
        &self,
        session: &Arc<dyn Session>,
        cancel: &CancelToken,
    ) -> ExportContext {
        ExportContext {
            snapshots: self.0.services.snapshots.clone(),
            content: self.0.content.clone(),
            registry: self.0.registry.clone(),
            session: Arc::clone(session),
            blocking: self.0.services.blocking.clone(),
            progress: Progress::default(),
            cancel: cancel.clone(),
        }
    }
}
