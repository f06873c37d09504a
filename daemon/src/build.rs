//! One build, from request to outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use lamina_exporters::ExportInput;
use lamina_exporters::ExportRefs;
use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_llb::BuildOptions;
use lamina_llb::BuildResult;
use lamina_llb::Entitlements;
use lamina_llb::ResultRefs;
use lamina_proto::pb;
use lamina_session::Session;
use lamina_snapshotter::LayerStack;
use lamina_solver::Event;
use lamina_types::CancelToken;
use tokio::sync::mpsc::UnboundedSender;

use crate::Engine;
use crate::export;

/// What to build, for whom, and where to put it (section 2.1).
pub struct BuildRequest {
    /// What makes the result.
    pub source: BuildSource,
    /// Where the result goes, by index: sessions know the targets by it (row CSOL-09). None = the
    /// result stays in the cache.
    pub exports: Vec<ExportRequest>,
    /// The client's services.
    pub session: Arc<dyn Session>,
    /// Do not use what earlier builds made.
    pub no_cache: bool,
    /// What the steps may ask of the host; refused if the engine is not set up for it.
    pub entitlements: Entitlements,
}

/// What makes the result of a build.
#[derive(Clone, Debug)]
pub enum BuildSource {
    /// A definition as it came from a client (row CSOL-02).
    Definition(pb::Definition),
    /// A frontend (rows CSOL-04 to CSOL-07).
    Frontend {
        /// Under which name it is registered.
        name: String,
        /// `filename`, `build-arg:X` and so on.
        options: BTreeMap<String, String>,
        /// Definitions that the frontend may use by name.
        inputs: BTreeMap<String, pb::Definition>,
    },
}

/// One exporter (section 10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportRequest {
    /// `image`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// Attributes of that kind.
    pub attrs: BTreeMap<String, String>,
}

/// What a build gave.
#[derive(Clone)]
pub struct BuildOutcome {
    /// Keys of the exporters and `frontend.*` metadata (row CSOL-25).
    pub exporter_response: BTreeMap<String, String>,
    /// The evaluated result.
    pub result: BuildResult,
}

impl Engine {
    /// Builds and exports. Progress goes to `events`; exports are steps of their own (row CSOL-23).
    ///
    /// Everything is evaluated, also without exporters (row CSOL-21). A build that fails or is
    /// cancelled leaves nothing but what is cached; steps that only it wanted are being stopped
    /// when this returns, and [`Engine::settle`] waits until they are.
    ///
    /// # Errors
    /// [`BuildError`] of the first step, frontend or exporter that failed.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: UnboundedSender<Event>,
        cancel: &CancelToken,
    ) -> Result<BuildOutcome, BuildError> {
        let granted = request.entitlements.within(self.0.entitlements);
        // Clients know these words (row CSOL-14).
        let refuse = |error| format!("granting entitlement {error} by build daemon configuration");
        let granted = granted.map_err(|error| BuildError::new(refuse(error)))?;
        let exporters = export::parse(&request.exports)?;
        let build = Build::start(
            &self.0.services,
            &self.0.solver,
            BuildOptions {
                session: Arc::clone(&request.session),
                entitlements: granted,
                events,
                cancel: cancel.clone(),
            },
        );
        let result = produce(&build, request.source, request.no_cache).await?;
        let input = ExportInput {
            refs: evaluate(&build, &result.refs).await?,
            metadata: result.metadata.clone(),
        };
        let context = self.export_context(&request.session, cancel);
        let exporter_response = export::run(&build, exporters, &input, &context).await?;
        Ok(BuildOutcome {
            exporter_response,
            result,
        })
    }

    /// Waits until no step runs any more and everything that builds have cached is on disk. To be
    /// called before the process ends.
    pub async fn settle(&self) {
        self.0.solver.settled().await;
        if let Err(error) = self.0.cache.flush().await {
            tracing::warn!(%error, "some results will not be found again");
        }
    }
}

async fn produce(
    build: &Build,
    source: BuildSource,
    no_cache: bool,
) -> Result<BuildResult, BuildError> {
    match source {
        BuildSource::Definition(mut definition) => {
            if no_cache {
                ignore_cache(&mut definition);
            }
            let refs = ResultRefs::Single(build.load(definition)?);
            Ok(BuildResult {
                refs,
                metadata: BTreeMap::new(),
            })
        }
        BuildSource::Frontend {
            name,
            mut options,
            inputs,
        } => {
            if no_cache {
                options.entry("no-cache".to_owned()).or_default();
            }
            build.run_frontend(&name, options, inputs).await
        }
    }
}

/// Marks every vertex, as clients do that have such an option.
fn ignore_cache(definition: &mut pb::Definition) {
    for op in &definition.def {
        let digest = lamina_types::Digest::of(op).to_string();
        definition.metadata.entry(digest).or_default().ignore_cache = true;
    }
}

async fn evaluate(build: &Build, refs: &ResultRefs) -> Result<ExportRefs, BuildError> {
    let stacks = refs.iter().map(|(key, reference)| async move {
        let stack = match reference {
            Some(reference) => build.evaluate(reference).await?.stack().clone(),
            None => LayerStack::empty(),
        };
        Ok::<_, BuildError>((key.to_owned(), stack))
    });
    let mut stacks: BTreeMap<String, LayerStack> =
        try_join_all(stacks).await?.into_iter().collect();
    Ok(match refs {
        ResultRefs::Single(_) => ExportRefs::Single(stacks.remove("").unwrap_or_default()),
        ResultRefs::Map(_) => ExportRefs::ByPlatform(stacks),
    })
}
