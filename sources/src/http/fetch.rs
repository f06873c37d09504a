//! Asking the server, or the client, for a file.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::TryStreamExt;
use lamina_registry::transport_reason;
use lamina_snapshotter::Layer;
use lamina_types::CancelToken;
use reqwest::Client;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use reqwest::header::CONTENT_DISPOSITION;
use reqwest::header::ETAG;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use reqwest::header::IF_NONE_MATCH;
use reqwest::header::LAST_MODIFIED;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::HttpSource;
use super::attrs::Held;
use super::attrs::HttpWish;
use super::attrs::PinnedHttp;
use super::layer::FileLayer;
use super::memory::Remembered;
use super::name;
use super::secret::authorization;
use crate::SourceContext;
use crate::SourceError;
use crate::stream::Copy;

/// Stands for the client of the build (row SVC-17).
const SESSION_HOST: &str = "buildkit-session";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that sends nothing for this long is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// What was given before: it need not be sent again.
pub(super) type Known = (Remembered, Layer);

/// The HTTP client, made when first needed: loading the system's certificates takes a while.
#[derive(Default)]
pub(super) struct Clients(Mutex<Option<Client>>);

impl Clients {
    fn get(&self) -> Result<Client, reqwest::Error> {
        let mut client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let builder = || {
            Client::builder()
                .user_agent(concat!("lamina/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(SILENCE_TIMEOUT)
        };
        // Plain http must work where no certificates are installed.
        let built = builder().build();
        let built = built.or_else(|_| builder().tls_certs_only([]).build())?;
        *client = Some(built.clone());
        Ok(built)
    }
}

/// A file that is being sent.
struct Incoming {
    filename: String,
    last_modified: Option<i64>,
    etag: Option<String>,
    data: Box<dyn AsyncRead + Send + Unpin>,
}

enum Answer {
    Unchanged,
    File(Incoming),
}

impl HttpSource {
    /// Returns what an earlier download left.
    pub(super) async fn known(
        &self,
        wish: &HttpWish,
        context: &SourceContext,
    ) -> Result<Option<Known>, SourceError> {
        let (memory, store, key) = (self.memory.clone(), self.layers.clone(), wish.key());
        let load = move |_: &CancelToken| Ok::<_, SourceError>(memory.load(&key, &store));
        self.blocking.run(&context.cancel, load).await
    }

    /// Gets the file, unless the server says that it is what is `known`.
    pub(super) async fn fetch(
        &self,
        wish: HttpWish,
        known: Option<Known>,
        context: &SourceContext,
    ) -> Result<PinnedHttp, SourceError> {
        let url = Url::parse(&wish.url).map_err(|error| failed(&wish, error.to_string()))?;
        let answer = if url.host_str() == Some(SESSION_HOST) {
            self.upload(&wish, &url, context).await?
        } else {
            let known = known.as_ref().map(|(known, _)| known);
            self.request(&wish, url, known, context).await?
        };
        match (answer, known) {
            (Answer::Unchanged, Some((known, layer))) => Ok(PinnedHttp {
                wish,
                digest: known.digest,
                filename: known.filename,
                last_modified: known.last_modified,
                held: Held::new(layer),
            }),
            (Answer::Unchanged, None) => Err(failed(
                &wish,
                "not modified, but it was never sent".to_owned(),
            )),
            (Answer::File(file), _) => self.receive(wish, file, context).await,
        }
    }

    async fn upload(
        &self,
        wish: &HttpWish,
        url: &Url,
        context: &SourceContext,
    ) -> Result<Answer, SourceError> {
        let opened = context.session.upload(SESSION_HOST, url.path()).await;
        let data = opened.map_err(|error| failed(wish, error.to_string()))?;
        Ok(Answer::File(Incoming {
            filename: name::of(&wish.url, wish.filename.as_deref(), None),
            last_modified: None,
            etag: None,
            data,
        }))
    }

    async fn request(
        &self,
        wish: &HttpWish,
        url: Url,
        known: Option<&Remembered>,
        context: &SourceContext,
    ) -> Result<Answer, SourceError> {
        let mut headers = headers(wish, known)?;
        if let Some(value) = authorization(wish, &url, context).await? {
            headers.insert(AUTHORIZATION, value);
        }
        let client = self.clients.get();
        let client = client.map_err(|error| failed(wish, error.to_string()))?;
        let sent = client.get(url.clone()).headers(headers).send().await;
        let response = sent.map_err(|error| {
            // After a redirect it is the other server that did not answer.
            let place = error.url().unwrap_or(&url);
            failed(wish, transport_reason(place, &error))
        })?;
        let status = response.status();
        if let Some(known) = known
            && is_known(&response, known)
        {
            return Ok(Answer::Unchanged);
        }
        if !status.is_success() && !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
            return Err(SourceError::HttpStatus {
                status: status.as_u16(),
            });
        }
        Ok(Answer::File(incoming(wish, response)))
    }

    async fn receive(
        &self,
        wish: HttpWish,
        mut file: Incoming,
        context: &SourceContext,
    ) -> Result<PinnedHttp, SourceError> {
        let (store, wished, filename) = (self.layers.clone(), wish.clone(), file.filename.clone());
        let start = move |_: &CancelToken| FileLayer::start(&store, &wished, &filename);
        let layer = self.blocking.run(&context.cancel, start).await?;
        let copy = Copy {
            blocking: &self.blocking,
            cancel: &context.cancel,
            what: &file.filename,
        };
        let (layer, ended) = copy.run(&mut file.data, layer, |_| {}).await?;
        ended.map_err(|error| failed(&wish, error.to_string()))?;
        let (memory, wished) = (self.memory.clone(), wish.clone());
        let (filename, etag, last_modified) = (file.filename, file.etag, file.last_modified);
        let finish = move |cancel: &CancelToken| {
            let (layer, digest) = layer.finish(&wished, last_modified, cancel)?;
            if let Some(etag) = etag {
                let mut kept = Remembered::new(etag, digest, filename.clone(), &layer);
                kept.last_modified = last_modified;
                memory.save(&wished.key(), &kept);
            }
            Ok::<_, SourceError>((layer, digest, filename))
        };
        let (layer, digest, filename) = self.blocking.run(&context.cancel, finish).await?;
        Ok(PinnedHttp {
            wish,
            digest,
            filename,
            last_modified,
            held: Held::new(layer),
        })
    }
}

fn failed(wish: &HttpWish, reason: String) -> SourceError {
    SourceError::Http {
        url: wish.shown_url(),
        reason,
    }
}

fn headers(wish: &HttpWish, known: Option<&Remembered>) -> Result<HeaderMap, SourceError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &wish.headers {
        let pair = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_str(value).ok());
        let (name, value) =
            pair.ok_or_else(|| failed(wish, format!("invalid value of header {name}")))?;
        headers.insert(name, value);
    }
    if let Some(etag) = known.and_then(|known| HeaderValue::from_str(&known.etag).ok()) {
        headers.insert(IF_NONE_MATCH, etag);
    }
    Ok(headers)
}

/// Says whether the server has what it gave before. Some ignore the question and send everything
/// again under the same tag; others answer without one.
fn is_known(response: &Response, known: &Remembered) -> bool {
    let strong = |etag: &str| etag.strip_prefix("W/").unwrap_or(etag).to_owned();
    let etag = header(response, &ETAG).map(|etag| strong(&etag));
    match response.status() {
        StatusCode::NOT_MODIFIED => etag.is_none_or(|etag| etag == strong(&known.etag)),
        StatusCode::OK => etag.is_some_and(|etag| etag == strong(&known.etag)),
        _ => false,
    }
}

fn incoming(wish: &HttpWish, response: Response) -> Incoming {
    let disposition = header(&response, &CONTENT_DISPOSITION);
    let modified = header(&response, &LAST_MODIFIED);
    Incoming {
        filename: name::of(&wish.url, wish.filename.as_deref(), disposition.as_deref()),
        last_modified: modified.and_then(|text| parse_time(&text)),
        etag: header(&response, &ETAG).filter(|etag| !etag.is_empty()),
        data: Box::new(StreamReader::new(
            // The URL is in the message already, and without its credentials.
            response
                .bytes_stream()
                .map_err(|error| io::Error::other(error.without_url())),
        )),
    }
}

fn header(response: &Response, name: &HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Reads the time of a header: `Wed, 21 Oct 2015 07:28:00 GMT`.
fn parse_time(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_headers_are_parsed() {
        for (text, wanted) in [
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(1_445_412_480)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", Some(1)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), wanted, "{text}");
        }
    }
}
