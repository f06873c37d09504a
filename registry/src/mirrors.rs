//! Asking mirrors, and then the registry that they stand in for (row SRC-07).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use lamina_session::Session;

use crate::ImageReference;
use crate::RegistryClient;
use crate::RegistryError;
use crate::endpoint::Endpoint;
use crate::request::Access;

/// How long a mirror that did not answer is asked after all others.
const LAST_FOR: Duration = Duration::from_secs(60);

/// Mirrors that could not be reached or said nothing, and when.
///
/// An image is many requests, and each would wait for such a mirror. It is still asked, as the last:
/// where there is no way to the registry, a slow mirror is all there is.
#[derive(Default)]
pub(crate) struct SilentMirrors(Mutex<HashMap<String, Instant>>);

impl SilentMirrors {
    pub(crate) fn add(&self, host: &str) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.insert(host.to_owned(), Instant::now());
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        let silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = silent.get(&endpoint.host).map(Instant::elapsed);
        endpoint.mirror_of.is_some() && since.is_some_and(|since| since < LAST_FOR)
    }
}

impl RegistryClient {
    /// Asks the mirrors and then the registry, until one answers; else returns the error that tells
    /// most, and of equals the registry's own.
    pub(crate) async fn ask_in_turn<T, F>(
        &self,
        reference: &ImageReference,
        session: &Arc<dyn Session>,
        ask: impl Fn(Access) -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let mut endpoints = Endpoint::all(self.transport().config(), reference);
        endpoints.sort_by_key(|endpoint| self.transport().silent_mirrors.has(endpoint));
        let mut worst: Option<RegistryError> = None;
        for endpoint in endpoints {
            let is_mirror = endpoint.mirror_of.is_some();
            let access = Access::read(reference, endpoint, session);
            let error = match ask(access.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if is_mirror {
                if error.is_silence() {
                    self.transport().silent_mirrors.add(&access.endpoint.host);
                }
                // Only of interest to who looks for it.
                tracing::debug!(%error, "mirror passed over");
            }
            worst = Some(match worst.take() {
                Some(worst) if worst.tells_more_than(&error) => worst,
                Some(worst) if is_mirror && !error.tells_more_than(&worst) => worst,
                _ => error,
            });
        }
        Err(worst.expect("the registry itself is always asked"))
    }
}
