//! The client: what all requests of this process share.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::Digest;
use reqwest::Response;
use reqwest::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::RegistryConfig;
use crate::RegistryError;
use crate::auth;
use crate::endpoint::Endpoint;
use crate::report;
use crate::request::Access;
use crate::transport::Transport;

/// Blobs moved at once from or to one host; registries throttle those who want more.
const TRANSFERS_PER_HOST: usize = 4;

/// For how many blobs it is remembered where they are.
const REMEMBERED_BLOBS: usize = 4096;

/// Talks to registries. Clones share connections, tokens and limits.
///
/// Every method stops with [`RegistryError::Cancelled`] soon after its token is cancelled, and then
/// leaves nothing behind but what the registry has taken already.
#[derive(Clone)]
pub struct RegistryClient(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) transport: Transport,
    lanes: Mutex<HashMap<String, Arc<Semaphore>>>,
    places: Mutex<BlobPlaces>,
}

/// Repositories that are known to hold a blob, for mounting it into another one.
#[derive(Default)]
struct BlobPlaces {
    by_blob: HashMap<(String, Digest), String>,
    /// Oldest first.
    order: VecDeque<(String, Digest)>,
}

impl RegistryClient {
    /// Makes a client; nothing is read or connected before it is used.
    ///
    /// # Errors
    /// [`RegistryError::Config`] if the configuration contradicts itself.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        for (host, settings) in &config.hosts {
            if settings.http && (settings.key_pair.is_some() || !settings.ca.is_empty()) {
                return Err(RegistryError::Config {
                    host: host.clone(),
                    reason: "certificates are of no use over plain http".to_owned(),
                });
            }
        }
        Ok(Self(Arc::new(Inner {
            transport: Transport::new(config),
            lanes: Mutex::default(),
            places: Mutex::default(),
        })))
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Waits for a turn to move a blob from or to `endpoint`.
    pub(crate) async fn turn(&self, endpoint: &Endpoint) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes
                .entry(endpoint.host.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_PER_HOST)));
            Arc::clone(lane)
        };
        // It is never closed, so this is always a permit.
        lane.acquire_owned().await.ok()
    }

    /// Remembers that a repository holds a blob.
    pub(crate) fn remember(&self, host: &str, blob: &Digest, repository: &str) {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), *blob);
        let replaced = places.by_blob.insert(key.clone(), repository.to_owned());
        if replaced.is_none() {
            places.order.push_back(key);
        }
        if places.order.len() > REMEMBERED_BLOBS
            && let Some(oldest) = places.order.pop_front()
        {
            places.by_blob.remove(&oldest);
        }
    }

    /// Returns a repository of `host` that is known to hold `blob`.
    pub(crate) fn place_of(&self, host: &str, blob: &Digest) -> Option<String> {
        let places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.by_blob.get(&(host.to_owned(), *blob)).cloned()
    }
}

/// Runs `work` until it ends or the token is cancelled.
pub(crate) async fn cancellable<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Cancelled.into()),
        result = work => result,
    }
}

/// Turns every status but the `expected` ones into an error that says what the registry said.
pub(crate) async fn check_status(
    access: &Access,
    response: Response,
    expected: &[StatusCode],
) -> Result<Response, RegistryError> {
    let status = response.status();
    if expected.contains(&status) {
        return Ok(response);
    }
    let message = report::message_of(response, access.endpoint.patience).await;
    let (reference, host) = (access.subject(), access.host());
    Err(match status.as_u16() {
        404 => RegistryError::NotFound {
            reference,
            host,
            message,
        },
        401 | 403 => {
            let authorized = access.session.credentials(&host).await;
            auth::denied(access, message, matches!(authorized, Ok(Some(_))))
        }
        status => RegistryError::Status {
            reference,
            host,
            status,
            message,
        },
    })
}
