//! The frontend `gateway.v0`: a frontend in an image, run in a sandbox (section 8.1).
//!
//! ```text
//! option `source` -> image (a named context, or resolved and pinned) -> capabilities
//!   -> process: entrypoint, options in its environment
//!   -> its stdin and stdout are the pipe on which it calls LLBBridge -> what it returns
//! ```
//! The gateway protocol itself is served by a [`BridgeServer`]; this module finds the program,
//! starts it, and decides which of its two endings counts (rows GW-30, GW-36).

mod caps;
mod environment;
mod image;
mod run;
mod stand_in;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BridgeServer;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::FrontendName;

use crate::DockerfileFrontend;
use crate::error::FrontendError;
use crate::error::Result;
use crate::frontend::OWN_NAME;

use image::Program;

/// The name under which it is registered.
pub(crate) const NAME: &str = "gateway.v0";

/// The option that names the image (row FGW-01).
pub(crate) const SOURCE: &str = "source";

/// Runs the frontend in the image that the option `source` names.
#[derive(Clone)]
pub struct GatewayFrontend {
    server: Arc<dyn BridgeServer>,
}

impl GatewayFrontend {
    /// Makes a frontend whose programs talk to `server`.
    #[must_use]
    pub fn new(server: Arc<dyn BridgeServer>) -> Self {
        Self { server }
    }

    /// Returns the named context, as `KIND:VALUE`, that is run in place of the image `source` (row
    /// FGW-05); `None` if it is that image.
    #[must_use]
    pub fn replacement(bridge: &dyn Bridge, source: &str) -> Option<String> {
        image::replacement(bridge, source)
            .ok()?
            .map(|context| context.value)
    }

    async fn run(&self, bridge: &Arc<dyn Bridge>, source: &str) -> Result<BuildResult> {
        let program = Program::load(bridge.as_ref(), source).await?;
        caps::check(bridge.as_ref(), &program)?;
        let process = environment::process(bridge.as_ref(), program).await?;
        let fetched = bridge.evaluate(&process.root).await;
        fetched.map_err(|error| BuildError {
            unavailable: !error.cancelled,
            ..error
        })?;
        let running = bridge.spawn(process).await?;
        Ok(run::finish(self.server.as_ref(), Arc::clone(bridge), running).await?)
    }
}

#[async_trait]
impl Frontend for GatewayFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> std::result::Result<BuildResult, BuildError> {
        let source = match source_of(bridge.as_ref()) {
            Ok(source) => source,
            Err(error) => return Err(named(error.into(), "")),
        };
        // The built-in frontend has a name and no image (row CSOL-05).
        if source == OWN_NAME && !image::is_replaced(bridge.as_ref(), &source) {
            return DockerfileFrontend.build(bridge).await;
        }
        let result = self.run(&bridge, &source).await;
        let result = result.map_err(|error| error.into_build_error(None));
        match result {
            Err(error) if error.unavailable && stand_in::is_there(bridge.as_ref(), &source) => {
                let note = stand_in::note(&source, &error);
                DockerfileFrontend.build_instead(bridge, note).await
            }
            result => result.map_err(|error| named(error, &source)),
        }
    }
}

/// Returns the option `source`.
fn source_of(bridge: &dyn Bridge) -> std::result::Result<String, FrontendError> {
    let options = bridge.options();
    if options.contains_key("gateway-devel") {
        return Err(FrontendError::DevelopmentGateway);
    }
    let source = options.get(SOURCE).cloned();
    source.ok_or(FrontendError::NoGatewaySource)
}

/// Says which frontend it was (row ERR-10).
fn named(mut error: BuildError, source: &str) -> BuildError {
    error.frontend = Some(FrontendName {
        name: NAME.to_owned(),
        source: source.to_owned(),
    });
    error
}

impl From<FrontendError> for BuildError {
    fn from(error: FrontendError) -> Self {
        crate::located::Located::nowhere(error).into_build_error(None)
    }
}

impl fmt::Debug for GatewayFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayFrontend")
    }
}
