//! Answers to challenges: passwords and tokens, remembered for as long as they hold.
//!
//! What is remembered belongs to one session, one host and one set of scopes, so that no build can
//! use what another build's client was given.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamina_session::Credentials;
use lamina_session::Token;
use lamina_session::TokenRequest;
use reqwest::Method;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::RegistryError;
use crate::bounded;
use crate::bounded::BoundedError;
use crate::challenge::Challenge;
use crate::endpoint;
use crate::report;
use crate::request::Access;
use crate::request::Body;
use crate::request::Request;
use crate::transport::Transport;

/// How long a token holds if its server does not say (by the token specification).
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token that is about to end is as good as none.
const MARGIN: Duration = Duration::from_secs(5);
/// Passwords are asked for again after this time, in case the user has changed them.
const PASSWORD_LIFE: Duration = Duration::from_secs(600);
/// How token servers know the daemon when the client asks for it.
const CLIENT_ID: &str = "buildkit-client";
/// Longest time for which a server's word is taken.
const MAX_TOKEN_LIFE: Duration = Duration::from_secs(3600);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    session: String,
    host: String,
    scopes: Vec<String>,
}

struct Entry {
    header: HeaderValue,
    expires: Instant,
}

/// The `Authorization` headers that have worked lately.
#[derive(Default)]
pub(crate) struct AuthCache(Mutex<HashMap<Key, Entry>>);

impl AuthCache {
    fn key(access: &Access) -> Key {
        Key {
            session: access.session.id().to_owned(),
            host: access.endpoint.host.clone(),
            scopes: access.scopes.clone(),
        }
    }

    pub(crate) fn get(&self, access: &Access) -> Option<HeaderValue> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&Self::key(access))?;
        (entry.expires > Instant::now()).then(|| entry.header.clone())
    }

    fn put(&self, access: &Access, header: HeaderValue, life: Duration) {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.expires > now);
        let expires = now + life.saturating_sub(MARGIN);
        entries.insert(Self::key(access), Entry { header, expires });
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// The parts of a bearer challenge.
struct Bearer<'a> {
    realm: &'a str,
    service: &'a str,
    scope: &'a str,
}

impl Transport {
    /// Returns the header that answers `challenge`; `None` if the client has no credentials and
    /// the registry wants some.
    pub(crate) async fn answer(
        &self,
        access: &Access,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if let Some((token, life)) = self.client_token(access, challenge).await? {
            let header = sensitive(&format!("Bearer {token}"));
            if let Some(header) = &header {
                self.auth.put(access, header.clone(), life);
            }
            return Ok(header);
        }
        let host = &access.endpoint.host;
        let credentials = access.session.credentials(host).await?;
        let (header, life) = match challenge {
            Challenge::Basic => match &credentials {
                Some(credentials) => (basic(credentials), PASSWORD_LIFE),
                None => return Ok(None),
            },
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let bearer = Bearer {
                    realm,
                    service,
                    scope,
                };
                let (token, life) = self.token(access, &bearer, credentials.as_ref()).await?;
                (sensitive(&format!("Bearer {token}")), life)
            }
        };
        if let Some(header) = &header {
            self.auth.put(access, header.clone(), life);
        }
        Ok(header)
    }

    /// Lets the client fetch the token, if it wants to: its password then never comes here (rows
    /// SVC-11, SVC-12). `None` = it does not, or no token is wanted.
    async fn client_token(
        &self,
        access: &Access,
        challenge: &Challenge,
    ) -> Result<Option<(String, Duration)>, RegistryError> {
        let Challenge::Bearer {
            realm,
            service,
            scope,
        } = challenge
        else {
            return Ok(None);
        };
        // The client would send its password there without a second thought.
        if Url::parse(realm).map_or(true, |realm| sends_in_clear(access, &realm)) {
            return Ok(None);
        }
        let request = TokenRequest {
            client_id: CLIENT_ID.to_owned(),
            host: access.endpoint.host.clone(),
            realm: realm.clone(),
            service: service.clone(),
            scopes: all_scopes(access, scope),
        };
        let fetched = access.session.fetch_token(&request).await?;
        let fetched = fetched.filter(|token| !token.token.is_empty());
        Ok(fetched.map(|token| {
            let life = life_of(&token, SystemTime::now());
            (token.token, life)
        }))
    }

    async fn token(
        &self,
        access: &Access,
        bearer: &Bearer<'_>,
        credentials: Option<&Credentials>,
    ) -> Result<(String, Duration), RegistryError> {
        let fail = |reason: String| RegistryError::Token {
            reference: access.subject(),
            host: access.host(),
            realm: bearer.realm.to_owned(),
            reason,
        };
        let realm = Url::parse(bearer.realm).map_err(|error| fail(error.to_string()))?;
        if credentials.is_some() && sends_in_clear(access, &realm) {
            let reason = "it would get the credentials over plain http";
            return Err(fail(reason.to_owned()));
        }
        let (request, header) = token_request(access, bearer, realm, credentials);
        let response = self.send_bare(access, request, header).await?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let message = report::message_of(response, access.endpoint.patience).await;
            return Err(denied(access, message, credentials.is_some()));
        }
        if !status.is_success() {
            let said = report::message_of(response, access.endpoint.patience).await;
            return Err(fail(format!("{}: {said}", status.as_u16())));
        }
        let patience = access.endpoint.patience;
        let body = bounded::read(response, bounded::MAX_TOKEN_BYTES, patience).await;
        let body = body.map_err(|error| match error {
            BoundedError::TooLarge => fail("the answer is too large".to_owned()),
            BoundedError::Lost(lost) => fail(lost.reason()),
        })?;
        parse_token(&body).ok_or_else(|| fail("the answer holds no token".to_owned()))
    }
}

pub(crate) fn denied(access: &Access, message: String, with_credentials: bool) -> RegistryError {
    RegistryError::Denied {
        reference: access.subject(),
        host: access.host(),
        message,
        hint: if with_credentials {
            "with credentials"
        } else {
            "no credentials are configured"
        },
    }
}

fn parse_token(body: &[u8]) -> Option<(String, Duration)> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .find(|token| !token.is_empty())?;
    let life = answer
        .expires_in
        .map_or(DEFAULT_TOKEN_LIFE, Duration::from_secs)
        .clamp(DEFAULT_TOKEN_LIFE, MAX_TOKEN_LIFE);
    Some((token, life))
}

/// Returns how long a token that the client fetched still holds.
fn life_of(token: &Token, now: SystemTime) -> Duration {
    let Ok(seconds) = u64::try_from(token.expires_in) else {
        return DEFAULT_TOKEN_LIFE;
    };
    if seconds == 0 {
        return DEFAULT_TOKEN_LIFE;
    }
    let life = Duration::from_secs(seconds).min(MAX_TOKEN_LIFE);
    let issued = u64::try_from(token.issued_at).unwrap_or_default();
    let issued = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(issued));
    let age = issued
        .filter(|_| token.issued_at > 0)
        .and_then(|issued| now.duration_since(issued).ok());
    life.saturating_sub(age.unwrap_or_default())
}

/// A registry that is reached by https must not have its users' passwords sent without it.
fn sends_in_clear(access: &Access, realm: &Url) -> bool {
    let plain_registry = access.endpoint.protocol != endpoint::Protocol::Https;
    let local = realm.host_str().is_some_and(endpoint::is_loopback);
    realm.scheme() != "https" && !plain_registry && !local
}

fn token_request(
    access: &Access,
    bearer: &Bearer<'_>,
    mut realm: Url,
    credentials: Option<&Credentials>,
) -> (Request, Option<HeaderValue>) {
    let scopes = all_scopes(access, bearer.scope);
    if let Some(token) = credentials.filter(|credentials| credentials.is_identity_token()) {
        return (refresh_request(realm, bearer, &scopes, token), None);
    }
    {
        let mut query = realm.query_pairs_mut();
        if !bearer.service.is_empty() {
            query.append_pair("service", bearer.service);
        }
        for scope in &scopes {
            query.append_pair("scope", scope);
        }
        if let Some(credentials) = credentials {
            query.append_pair("account", &credentials.username);
        }
    }
    (
        Request::new(Method::GET, realm),
        credentials.and_then(basic),
    )
}

/// Exchanges an identity token, as OAuth 2 has it.
fn refresh_request(
    realm: Url,
    bearer: &Bearer<'_>,
    scopes: &[String],
    credentials: &Credentials,
) -> Request {
    // A URL's query has the same encoding as a form.
    let mut form = realm.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", bearer.service)
        .append_pair("client_id", "lamina")
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", &credentials.secret);
    let body = form.query().unwrap_or_default().to_owned();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    Request::new(Method::POST, realm)
        .header(CONTENT_TYPE, kind)
        .body(Body::Bytes(body.into()))
}

/// What the registry asks for, and what this client is going to do anyway.
fn all_scopes(access: &Access, asked: &str) -> Vec<String> {
    let mut scopes: Vec<String> = asked.split_whitespace().map(str::to_owned).collect();
    scopes.extend(access.scopes.iter().cloned());
    scopes.sort();
    scopes.dedup();
    scopes
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.secret);
    sensitive(&format!("Basic {}", STANDARD.encode(pair)))
}

/// `None` for text that no header can hold, such as a token with a line break.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_clients_age() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (expires_in, issued_at, wanted) in [
            (0, 0, 60),
            (-5, 0, 60),
            (300, 0, 300),
            (300, 900, 200),
            (300, 100, 0),
            (300, 2000, 300),
            (300, -1, 300),
            (i64::MAX, i64::MAX, 3600),
        ] {
            let token = Token {
                token: "t".to_owned(),
                expires_in,
                issued_at,
            };
            let wanted = Duration::from_secs(wanted);
            assert_eq!(life_of(&token, now), wanted, "{expires_in} {issued_at}");
        }
    }

    #[test]
    fn token_answers_are_parsed() {
        let seconds = |s| Duration::from_secs(s);
        for (body, wanted) in [
            (r#"{"token":"a"}"#, Some(("a", seconds(60)))),
            (r#"{"access_token":"b"}"#, Some(("b", seconds(60)))),
            (
                r#"{"token":"a","access_token":"b","expires_in":300}"#,
                Some(("a", seconds(300))),
            ),
            (r#"{"token":"a","expires_in":1}"#, Some(("a", seconds(60)))),
            (
                r#"{"token":"a","expires_in":999999}"#,
                Some(("a", seconds(3600))),
            ),
            (r#"{"token":""}"#, None),
            ("{}", None),
            ("token", None),
        ] {
            let wanted = wanted.map(|(token, life)| (token.to_owned(), life));
            assert_eq!(parse_token(body.as_bytes()), wanted, "{body}");
        }
    }
}
