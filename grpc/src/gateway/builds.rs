//! Builds that clients drive themselves, by id (rows CSOL-03, NET-07, NET-08).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use lamina_engine::ReferenceNames;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::ResultRefs;
use tokio::sync::watch;
use tonic::Code;

use super::DrivenBuild;
use super::references::References;

/// How long a call waits for the build that it names: clients start both at once (row NET-08).
const REGISTRATION_WAIT: Duration = Duration::from_secs(3);

type ById = HashMap<String, Arc<DrivenBuild>>;

/// The builds that wait for calls. Clones share them.
#[derive(Clone)]
pub(crate) struct Builds(Arc<watch::Sender<ById>>);

impl Default for Builds {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(ById::new())))
    }
}

impl fmt::Debug for Builds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}

impl Builds {
    /// Returns the build `id`, waiting a moment for it to be registered.
    ///
    /// # Errors
    /// `NotFound` when the wait is over.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<DrivenBuild>, BuildError> {
        if let Some(build) = self.0.borrow().get(id) {
            return Ok(Arc::clone(build));
        }
        let mut changes = self.0.subscribe();
        let registered = changes.wait_for(|builds| builds.contains_key(id));
        let found = tokio::time::timeout(REGISTRATION_WAIT, registered).await;
        let found = found.ok().and_then(Result::ok);
        let build = found.and_then(|builds| builds.get(id).cloned());
        build.ok_or_else(|| BuildError {
            code: Some(Code::NotFound as i32),
            ..BuildError::new(format!("no such job {id}"))
        })
    }

    fn register(&self, id: &str, build: Arc<DrivenBuild>) -> Registration {
        self.0.send_modify(|builds| {
            builds.insert(id.to_owned(), Arc::clone(&build));
        });
        Registration {
            builds: self.clone(),
            id: id.to_owned(),
            build,
        }
    }
}

/// Keeps a build in reach of calls.
struct Registration {
    builds: Builds,
    id: String,
    build: Arc<DrivenBuild>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.build.containers.close();
        // Outside of the lock: the build may be the last owner of much.
        let mut removed = None;
        self.builds.0.send_modify(|builds| {
            removed = builds.remove(&self.id);
        });
        drop(removed);
    }
}

/// A frontend that is the client itself: it calls LLBBridge with the id of its build until it
/// returns (row CSOL-03), and may go on to read as long as this is kept (row SVC-18).
pub(crate) struct ClientFrontend {
    builds: Builds,
    id: String,
    /// Set once the build runs, of which there is one.
    running: OnceLock<Registration>,
}

impl ClientFrontend {
    /// Makes the frontend of the build `id`, which is in reach of calls once it runs.
    pub(crate) fn new(builds: Builds, id: impl Into<String>) -> Self {
        Self {
            builds,
            id: id.into(),
            running: OnceLock::new(),
        }
    }

    /// Returns ids under which the client can read these references; none before the build runs.
    pub(crate) fn names(&self, refs: &ResultRefs) -> Vec<String> {
        let running = self.running.get();
        running.map_or_else(Vec::new, |running| running.build.references.names(refs))
    }
}

/// Returns what names the references of a result for a client that chooses exporters. It keeps the
/// build in reach of the client that drives it; others get names and have no calls to use them in
/// (row SVC-18).
pub(crate) fn reference_names(driver: Option<Arc<ClientFrontend>>) -> ReferenceNames {
    match driver {
        Some(driver) => ReferenceNames::new(move |refs| driver.names(refs)),
        None => ReferenceNames::new(|refs| References::new().names(refs)),
    }
}

#[async_trait]
impl Frontend for ClientFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let running = self.running.get_or_init(|| {
            let build = Arc::new(DrivenBuild::new(bridge));
            self.builds.register(&self.id, build)
        });
        running.build.outcome().wait().await
    }
}
