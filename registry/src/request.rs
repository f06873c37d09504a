//! A request that can be sent more than once, and what it is sent for.

use std::sync::Arc;

use bytes::Bytes;
use lamina_session::Session;
use reqwest::Method;
use reqwest::Url;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;

use crate::ImageReference;
use crate::endpoint::Endpoint;
use crate::stream::Upload;

/// On whose behalf a registry is asked, and for which right.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) reference: ImageReference,
    pub(crate) endpoint: Endpoint,
    pub(crate) session: Arc<dyn Session>,
    /// Token scopes, such as `repository:library/debian:pull`; sorted.
    pub(crate) scopes: Vec<String>,
}

impl Access {
    /// Reads from the repository of `reference`.
    pub(crate) fn read(
        reference: &ImageReference,
        endpoint: Endpoint,
        session: &Arc<dyn Session>,
    ) -> Self {
        let separator = if endpoint.prefix.is_empty() { "" } else { "/" };
        let path = format!("{}{separator}{}", endpoint.prefix, reference.repository);
        Self {
            reference: reference.clone(),
            endpoint,
            session: Arc::clone(session),
            scopes: vec![format!("repository:{path}:pull")],
        }
    }

    /// Writes to the repository of `reference`, and reads from `mount_from` of the same registry.
    pub(crate) fn write(
        reference: &ImageReference,
        endpoint: Endpoint,
        session: &Arc<dyn Session>,
        mount_from: Option<&str>,
    ) -> Self {
        let mut scopes = vec![format!("repository:{}:pull,push", reference.repository)];
        scopes.extend(mount_from.map(|from| format!("repository:{from}:pull")));
        scopes.sort();
        Self {
            reference: reference.clone(),
            endpoint,
            session: Arc::clone(session),
            scopes,
        }
    }

    /// Names the image in messages.
    pub(crate) fn subject(&self) -> String {
        self.reference.to_string()
    }

    pub(crate) fn host(&self) -> String {
        self.endpoint.host.clone()
    }
}

/// One HTTP request, kept so that it can be repeated after a redirect, a challenge or a failure.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// What is sent along.
#[derive(Clone)]
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    File(Upload),
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Returns the request that a redirect to `url` with a change of method asks for.
    pub(crate) fn as_get(&self, url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: self.headers.clone(),
            body: Body::Empty,
        }
    }
}
