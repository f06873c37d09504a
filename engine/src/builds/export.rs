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
use lamina_llb::MakeRoom;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Progress;
use lamina_types::is_disk_full;

use super::BuildRequest;
use super::BuildSource;
use super::ExportRequest;
use crate::Engine;

/// What exporters answered (rows CSOL-25, CTL-21).
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportResponses {
    /// By the index of the exporter.
    pub(crate) by_exporter: Vec<BTreeMap<String, String>>,
    /// Of the frontend and of caches.
    pub(crate) others: BTreeMap<String, String>,
}

impl ExportResponses {
    /// Returns all in one map, as clients get it.
    pub(crate) fn merged(&self) -> BTreeMap<String, String> {
        let all = std::iter::once(&self.others).chain(&self.by_exporter);
        all.flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// The gRPC code of a wait that was given up.
const DEADLINE_EXCEEDED: i32 = 4;

/// The option that sets the time of what is exported, and the attribute of exporters for it.
const EPOCH_OPTION: &str = "build-arg:SOURCE_DATE_EPOCH";
const EPOCH_ATTR: &str = "source-date-epoch";

/// Metadata keys with this prefix go into the response (row RMD-08).
const FRONTEND_PREFIX: &str = "frontend.";

/// Gives the epoch of the build, if it is a number, to the exporters that have none (row CSOL-22).
pub(super) fn inject_epoch(request: &mut BuildRequest) {
    let options = match &request.source {
        BuildSource::Definition(_) => return,
        BuildSource::Frontend { options, .. } | BuildSource::Client { options, .. } => options,
    };
    let Some(epoch) = options.get(EPOCH_OPTION) else {
        return;
    };
    if epoch.parse::<i64>().is_err() {
        return;
    }
    for export in &mut request.exports {
        let attr = export.attrs.entry(EPOCH_ATTR.to_owned());
        attr.or_insert_with(|| epoch.clone());
    }
}

/// Makes the exporters from number `first` on, so that wrong attributes are refused before anything
/// runs.
pub(super) fn parse(
    requests: &[ExportRequest],
    first: usize,
) -> Result<Vec<Box<dyn Exporter>>, BuildError> {
    let exporters = (first..).zip(requests).map(|(index, request)| {
        lamina_exporters::parse(&request.kind, &request.attrs, index).map_err(build_error)
    });
    exporters.collect()
}

/// Runs all exporters at once (rows CSOL-09, CSOL-25).
pub(super) async fn run(
    build: &Build,
    exporters: Vec<Box<dyn Exporter>>,
    input: &ExportInput,
    context: &ExportContext,
    room: &dyn MakeRoom,
) -> Result<ExportResponses, BuildError> {
    let exports = exporters.iter().enumerate().map(|(index, exporter)| {
        let context = context.clone();
        async move { run_one(build, (index, &**exporter), input, context, room).await }
    });
    let by_exporter = try_join_all(exports).await?;
    let metadata = input.metadata.iter();
    let frontend = metadata.filter(|(key, _)| key.starts_with(FRONTEND_PREFIX));
    Ok(ExportResponses {
        by_exporter,
        others: frontend
            .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect(),
    })
}

async fn run_one(
    build: &Build,
    (index, exporter): (usize, &dyn Exporter),
    input: &ExportInput,
    mut context: ExportContext,
    room: &dyn MakeRoom,
) -> Result<BTreeMap<String, String>, BuildError> {
    let digest = Digest::of(format!("export {index}: {}", exporter.name()).as_bytes());
    let step = build.step(digest, exporter.name());
    context.progress = step.progress().clone();
    let exported = export_with_room(exporter, input, &context, room).await;
    let failure = exported.as_ref().err().map(ToString::to_string);
    step.finish(failure);
    exported
}

/// Exports; if the disk is full, makes room and tries once more.
async fn export_with_room(
    exporter: &dyn Exporter,
    input: &ExportInput,
    context: &ExportContext,
    room: &dyn MakeRoom,
) -> Result<BTreeMap<String, String>, BuildError> {
    match exporter.export(input, context).await {
        Err(error) if is_disk_full(&error) && !context.cancel.is_cancelled() => {}
        exported => return exported.map_err(build_error),
    }
    let room = room.make_room_to_try_again(&context.progress).await;
    let again = exporter.export(input, context).await;
    again.map_err(|error| match is_disk_full(&error) {
        true => BuildError::new(format!("{error}: {room}")),
        false => build_error(error),
    })
}

fn build_error(error: ExportError) -> BuildError {
    match error {
        ExportError::Cancelled(_) => BuildError::cancelled(),
        ExportError::Session(error) => session_error(error),
        other => BuildError::new(other.to_string()),
    }
}

/// A wait for the client that is over has a code of its own (row NET-14).
pub(super) fn session_error(error: SessionError) -> BuildError {
    let is_over = matches!(error, SessionError::NotConnected { .. });
    BuildError {
        code: is_over.then_some(DEADLINE_EXCEEDED),
        ..BuildError::new(error.to_string())
    }
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

#[cfg(test)]
mod tests {
    use lamina_session::LocalSession;

    use super::*;

    #[test]
    fn the_epoch_reaches_exporters_without_one() {
        let own = [(EPOCH_ATTR.to_owned(), "7".to_owned())];
        for (name, option, attrs, wanted) in [
            ("given", Some("5"), vec![], Some("5")),
            ("own", Some("5"), own.to_vec(), Some("7")),
            ("no number", Some("x"), vec![], None),
            ("none", None, vec![], None),
        ] {
            let options = option.map(|value| (EPOCH_OPTION.to_owned(), value.to_owned()));
            let source = BuildSource::Frontend {
                name: String::new(),
                options: options.into_iter().collect(),
                inputs: BTreeMap::new(),
            };
            let session = Arc::new(LocalSession::builder().build());
            let mut request = BuildRequest::new(source, session);
            request.exports.push(ExportRequest {
                kind: "tar".to_owned(),
                attrs: attrs.into_iter().collect(),
            });
            inject_epoch(&mut request);
            let epoch = request.exports[0].attrs.get(EPOCH_ATTR);
            assert_eq!(epoch.map(String::as_str), wanted, "{name}");
        }
    }
}
