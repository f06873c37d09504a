//! Exporters that the client adds when it knows the result (rows CSOL-18, SVC-18).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::ResultRefs;
use lamina_session::ChosenExporter;
use lamina_session::ExportableResult;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_types::CancelToken;

use super::BuildRequest;
use super::ExportRequest;
use super::export;

/// Gives the references of a result ids under which the client can read them; scratch gets none.
#[derive(Clone)]
pub struct ReferenceNames(Arc<Names>);

type Names = dyn Fn(&ResultRefs) -> Vec<String> + Send + Sync;

impl ReferenceNames {
    /// Takes what gives the ids. It is kept until the build has ended.
    pub fn new(names: impl Fn(&ResultRefs) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(names))
    }
}

impl fmt::Debug for ReferenceNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReferenceNames")
    }
}

/// The client of a build as the one who may add exporters.
pub(super) struct LateExports {
    session: Arc<dyn Session>,
    /// None = the client is not asked.
    names: Option<ReferenceNames>,
    cancel: CancelToken,
}

impl LateExports {
    pub(super) fn new(request: &BuildRequest, cancel: &CancelToken) -> Self {
        Self {
            session: Arc::clone(&request.session),
            names: request.session_exporters.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Returns what the client wants beside the exporters of its request.
    pub(super) async fn find(
        &self,
        result: &BuildResult,
    ) -> Result<Vec<ExportRequest>, BuildError> {
        let Some(ReferenceNames(names)) = &self.names else {
            return Ok(Vec::new());
        };
        let shown = ExportableResult {
            metadata: result.metadata.clone(),
            references: names(&result.refs),
        };
        let chosen = self.answer(self.session.find_exporters(&shown)).await?;
        Ok(chosen.into_iter().map(request).collect())
    }

    /// Tells the client what all exporters have answered.
    pub(super) async fn finalize(
        &self,
        response: &BTreeMap<String, String>,
    ) -> Result<(), BuildError> {
        if self.names.is_none() {
            return Ok(());
        }
        self.answer(self.session.finalize_export(response)).await
    }

    /// Waits for the client as long as the build lives.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, BuildError> {
        tokio::select! {
            answer = answer => answer.map_err(export::session_error),
            () = self.cancel.cancelled() => Err(BuildError::cancelled()),
        }
    }
}

fn request(chosen: ChosenExporter) -> ExportRequest {
    ExportRequest {
        kind: chosen.kind,
        attrs: chosen.attrs,
    }
}
