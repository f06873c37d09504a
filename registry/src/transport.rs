//! Sending one request: the right client, redirects, challenges and retries.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::without_credentials;
use reqwest::Client;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use reqwest::header::CONTENT_LENGTH;
use reqwest::header::HeaderValue;
use reqwest::header::LOCATION;

use crate::RegistryConfig;
use crate::RegistryError;
use crate::RetryPolicy;
use crate::auth;
use crate::auth::AuthCache;
use crate::bounded::Lost;
use crate::challenge;
use crate::clients::Clients;
use crate::endpoint::Endpoint;
use crate::endpoint::Protocol;
use crate::mirrors::SilentMirrors;
use crate::report;
use crate::request::Access;
use crate::request::Body;
use crate::request::Request;
use crate::retry;

const MAX_REDIRECTS: usize = 10;

/// What is said of a host that takes a connection and says nothing.
const NO_ANSWER: &str = "no answer in time";

/// Connections, remembered authorizations and what has been learned about hosts.
pub(crate) struct Transport {
    config: RegistryConfig,
    pub(crate) auth: AuthCache,
    clients: Clients,
    /// Which of http and https the hosts speak for which this is found out.
    schemes: Mutex<HashMap<String, &'static str>>,
    pub(crate) silent_mirrors: SilentMirrors,
}

/// How one attempt failed.
pub(crate) enum Failure {
    /// Trying again may help.
    Transient(RegistryError),
    Final(RegistryError),
}

impl From<Failure> for RegistryError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(error) | Failure::Final(error) => error,
        }
    }
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig) -> Self {
        Self {
            config,
            auth: AuthCache::default(),
            clients: Clients::default(),
            schemes: Mutex::default(),
            silent_mirrors: SilentMirrors::default(),
        }
    }

    pub(crate) const fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// Returns the URL of `path` in the repository that `access` is for.
    pub(crate) async fn url(&self, access: &Access, path: &str) -> Result<Url, RegistryError> {
        let scheme = self.scheme(&access.endpoint).await?;
        access.endpoint.url(scheme, &access.reference, path)
    }

    /// Sends a request, retrying what is transient; any status is a success here.
    pub(crate) async fn send(
        &self,
        access: &Access,
        request: &Request,
    ) -> Result<Response, RegistryError> {
        self.send_with(access, request, self.config.retry).await
    }

    /// The same with its own idea of retries.
    pub(crate) async fn send_with(
        &self,
        access: &Access,
        request: &Request,
        policy: RetryPolicy,
    ) -> Result<Response, RegistryError> {
        let mut failed = 0;
        loop {
            let outcome = self.attempt(access, request).await;
            failed += 1;
            let next = policy.wait_after(failed);
            match (outcome, next) {
                (Ok(response), Some(wait)) if retry::is_transient(response.status()) => {
                    let wait = retry::wait_wanted(response.headers()).unwrap_or(wait);
                    tracing::debug!(host = access.endpoint.host, status = %response.status(), "trying again");
                    tokio::time::sleep(wait).await;
                }
                (Err(Failure::Transient(error)), Some(wait)) => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(wait).await;
                }
                (outcome, _) => return Ok(outcome?),
            }
        }
    }

    /// Sends once; a challenge is answered and the request sent once more.
    async fn attempt(&self, access: &Access, request: &Request) -> Result<Response, Failure> {
        // An upload may go to another host, which has no business with the registry's tokens.
        if authority(&request.url) != access.endpoint.host {
            return self.follow(access, request, None).await;
        }
        let response = self.follow(access, request, self.auth.get(access)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = challenge::best(response.headers()) else {
            return Ok(response);
        };
        let answer = self.answer(access, &challenge).await;
        match answer.map_err(Failure::Final)? {
            Some(header) => self.follow(access, request, Some(header)).await,
            None => {
                let message = report::message_of(response, access.endpoint.patience).await;
                Err(Failure::Final(auth::denied(access, message, false)))
            }
        }
    }

    /// Sends once to a server that is not the registry, answering no challenge.
    pub(crate) async fn send_bare(
        &self,
        access: &Access,
        request: Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        Ok(self.follow(access, &request, authorization).await?)
    }

    /// Follows redirects; the authorization goes only to the host that it is for.
    async fn follow(
        &self,
        access: &Access,
        request: &Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let bad = |reason| {
            Failure::Final(RegistryError::BadRedirect {
                reference: access.subject(),
                host: access.host(),
                reason,
            })
        };
        let first = request.url.clone();
        let mut request = request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let header = authorization
                .as_ref()
                .filter(|_| first.origin() == request.url.origin());
            let response = self.once(access, &request, header).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let target = redirect_target(&request.url, &response)
                .ok_or_else(|| bad("it does not say where to"))?;
            if request.url.scheme() == "https" && target.scheme() != "https" {
                return Err(bad("from https to plain http"));
            }
            request = redirected(&request, response.status(), target);
        }
        Err(bad("too often"))
    }

    async fn once(
        &self,
        access: &Access,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let client = self.client(&request.url).map_err(Failure::Final)?;
        let answer = prepared(&client, request, authorization).send();
        // A large body takes as long as it takes.
        let answer = if matches!(request.body, Body::File(_)) {
            answer.await
        } else {
            let answer = tokio::time::timeout(access.endpoint.patience, answer).await;
            answer.map_err(|_| {
                let host = authority(&request.url);
                silence(access, interrupted(access, host, NO_ANSWER.to_owned()))
            })?
        };
        answer.map_err(|error| failure(access, request, &error))
    }

    /// Finds out which protocol a host speaks, once.
    async fn scheme(&self, endpoint: &Endpoint) -> Result<&'static str, RegistryError> {
        match endpoint.protocol {
            Protocol::Https => return Ok("https"),
            Protocol::Http => return Ok("http"),
            Protocol::Either => {}
        }
        if let Some(scheme) = self.known_schemes().get(&endpoint.host) {
            return Ok(scheme);
        }
        // If nothing answers, the request itself says so best.
        let Some(scheme) = self.probe(endpoint).await? else {
            return Ok("http");
        };
        self.known_schemes().insert(endpoint.host.clone(), scheme);
        Ok(scheme)
    }

    fn known_schemes(&self) -> MutexGuard<'_, HashMap<String, &'static str>> {
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the host speaks; `None` if it does not answer.
    async fn probe(&self, endpoint: &Endpoint) -> Result<Option<&'static str>, RegistryError> {
        let url = endpoint.base_url("https")?;
        let get = |url: Url| Ok::<_, RegistryError>(self.client(&url)?.get(url).send());
        match tokio::time::timeout(endpoint.patience, get(url.clone())?).await {
            Ok(Ok(_)) => return Ok(Some("https")),
            Ok(Err(error)) if report::is_certificate_problem(&error) => {
                let reason = report::transport_reason(&url, &error);
                return Err(unreachable(&Method::GET, &url, reason));
            }
            Ok(Err(error)) => tracing::debug!(%error, host = endpoint.host, "no https"),
            Err(_) => tracing::debug!(host = endpoint.host, "no answer to https"),
        }
        let url = endpoint.base_url("http")?;
        match tokio::time::timeout(endpoint.patience, get(url.clone())?).await {
            Ok(answer) => Ok(answer.is_ok().then_some("http")),
            Err(_) => Err(unreachable(&Method::GET, &url, NO_ANSWER.to_owned())),
        }
    }

    fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        self.clients.get(&authority(url), &self.config)
    }
}

fn prepared(
    client: &Client,
    request: &Request,
    authorization: Option<&HeaderValue>,
) -> RequestBuilder {
    let mut builder = client
        .request(request.method.clone(), request.url.clone())
        .headers(request.headers.clone());
    if let Some(header) = authorization {
        builder = builder.header(AUTHORIZATION, header);
    }
    match &request.body {
        Body::Empty if request.method == Method::GET || request.method == Method::HEAD => builder,
        Body::Empty => builder.header(CONTENT_LENGTH, 0),
        Body::Bytes(bytes) => builder.body(bytes.clone()),
        Body::File(upload) => builder
            .header(CONTENT_LENGTH, upload.size)
            .body(upload.body()),
    }
}

pub(crate) fn interrupted(access: &Access, host: String, reason: String) -> RegistryError {
    RegistryError::Interrupted {
        reference: access.subject(),
        host,
        reason,
    }
}

fn unreachable(method: &Method, url: &Url, reason: String) -> RegistryError {
    RegistryError::Unreachable {
        host: authority(url),
        method: report::method_name(method),
        url: shown(url),
        reason,
    }
}

/// Returns `url` for messages. Redirects lead to storage whose keys are in the query.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    without_credentials(shown.as_str()).into_owned()
}

/// Judges the loss of the rest of an answer.
pub(crate) fn lost(access: &Access, lost: Lost) -> Failure {
    let is_silence = matches!(lost, Lost::Silent);
    let error = interrupted(access, access.host(), lost.reason());
    match is_silence {
        true => silence(access, error),
        false => Failure::Transient(error),
    }
}

/// A registry that says nothing is asked again; instead of a mirror there are others to ask.
fn silence(access: &Access, error: RegistryError) -> Failure {
    match access.endpoint.mirror_of {
        Some(_) => Failure::Final(error),
        None => Failure::Transient(error),
    }
}

/// A connection that was never made is final, a lost one is not.
fn failure(access: &Access, request: &Request, error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        let reason = report::transport_reason(&request.url, error);
        return Failure::Final(unreachable(&request.method, &request.url, reason));
    }
    let lost = interrupted(access, authority(&request.url), report::reason(error));
    if error.is_builder() {
        Failure::Final(lost)
    } else {
        Failure::Transient(lost)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(from: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok()?;
    matches!(target.scheme(), "http" | "https").then_some(target)
}

/// Only 307 and 308 keep the method of requests that change something.
fn redirected(request: &Request, status: StatusCode, target: Url) -> Request {
    let keeps_method = matches!(status.as_u16(), 307 | 308)
        || request.method == Method::GET
        || request.method == Method::HEAD;
    if keeps_method {
        return Request {
            url: target,
            ..request.clone()
        };
    }
    request.as_get(target)
}

/// Host and port as they stand in references and in the configuration.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
