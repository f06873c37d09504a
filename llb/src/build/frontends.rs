//! Running frontends in a build (rows CSOL-03, CSOL-04, GW-15, FGW-12).

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_types::panic_text;

use super::Build;
use super::bridge::FrontendBridge;
use crate::BuildError;
use crate::BuildResult;
use crate::Frontend;
use crate::FrontendName;

/// How deep frontends may call frontends. Real builds need three: a client, a `# syntax=` image
/// and what that image calls; a frontend that calls itself without end must stop somewhere.
const MAX_DEPTH: usize = 16;

/// Option of `gateway.v0` that names the frontend's image.
const SOURCE: &str = "source";

/// What a frontend is called with.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) options: BTreeMap<String, String>,
    pub(super) inputs: BTreeMap<String, pb::Definition>,
    /// Rules beside those of the build (row GW-21).
    pub(super) policies: Arc<[Policy]>,
    /// How many frontends wait for this one.
    pub(super) depth: usize,
}

impl Call {
    /// A call that no other frontend waits for.
    fn outermost(
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> Self {
        Self {
            options,
            inputs,
            ..Self::default()
        }
    }
}

impl Build {
    /// Runs `frontend`, which need not be registered: a client that drives its build itself is one
    /// (row CSOL-03). Its errors are passed on as they are.
    ///
    /// # Errors
    /// If it fails; a panic of it fails this build and no other.
    pub async fn run(
        &self,
        frontend: Arc<dyn Frontend>,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> Result<BuildResult, BuildError> {
        self.call(frontend, Call::outermost(options, inputs)).await
    }

    /// Runs the frontend that is registered as `name` (row CSOL-04).
    ///
    /// # Errors
    /// If there is none of that name, or it fails, which the error then says (row ERR-10).
    pub async fn run_frontend(
        &self,
        name: &str,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> Result<BuildResult, BuildError> {
        let call = Call::outermost(options, inputs);
        self.call_named(name, call).await
    }

    pub(super) async fn call_named(
        &self,
        name: &str,
        call: Call,
    ) -> Result<BuildResult, BuildError> {
        let frontend = self.0.services.frontends.get(name);
        let unknown = || BuildError::new(format!("invalid frontend: {name}"));
        let frontend = Arc::clone(frontend.ok_or_else(unknown)?);
        let failed = FrontendName {
            name: name.to_owned(),
            source: call.options.get(SOURCE).cloned().unwrap_or_default(),
        };
        let result = self.call(frontend, call).await;
        result.map_err(|error| error.with_frontend(failed))
    }

    async fn call(
        &self,
        frontend: Arc<dyn Frontend>,
        call: Call,
    ) -> Result<BuildResult, BuildError> {
        if call.depth > MAX_DEPTH {
            let text = format!("frontends call each other more than {MAX_DEPTH} deep");
            return Err(BuildError::new(text));
        }
        let bridge = FrontendBridge::new(self.clone(), call);
        let result = AssertUnwindSafe(frontend.build(Arc::new(bridge))).catch_unwind();
        let internal = |text| BuildError::new(format!("internal error: {text}"));
        tokio::select! {
            result = result => result.unwrap_or_else(|panic| Err(internal(panic_text(&*panic)))),
            () = self.0.cancel.cancelled() => Err(BuildError::cancelled()),
        }
    }
}
