//! What to send as `Authorization` (row SRC-30).
//!
//! The secret that the build names must be there. Those that only the host's name suggests may be;
//! a client that cannot give one does not fail the build, but the user is told, since the server
//! may then refuse for no visible reason.

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::attrs::HttpWish;
use crate::SourceContext;
use crate::SourceError;

/// Secrets that are sent to a host if the client has them, and what goes before them.
const CONVENTIONS: [(&str, &str); 2] = [("HTTP_AUTH_TOKEN_", "Bearer "), ("HTTP_AUTH_HEADER_", "")];

/// Returns the value of the header, if there is to be one.
///
/// # Errors
/// [`SourceError::HttpSecret`] if the secret that the build names cannot be had, or one that is
/// there cannot be sent.
pub(super) async fn authorization(
    wish: &HttpWish,
    url: &Url,
    context: &SourceContext,
) -> Result<Option<HeaderValue>, SourceError> {
    if let Some(id) = &wish.auth_secret {
        return named(id, context).await.map(Some);
    }
    let host = url.host_str().unwrap_or_default();
    for (prefix, scheme) in CONVENTIONS {
        let id = format!("{prefix}{host}");
        if let Some(secret) = context.offered_secret(&id).await? {
            let value = [scheme.as_bytes(), &secret[..]].concat();
            return header(&id, &value).map(Some);
        }
    }
    Ok(None)
}

async fn named(id: &str, context: &SourceContext) -> Result<HeaderValue, SourceError> {
    let secret = context.session.secret(id).await;
    let secret = secret.map_err(|error| failed(id, error.to_string()))?;
    let secret = secret.ok_or_else(|| failed(id, "not found".to_owned()))?;
    header(id, &secret)
}

fn header(id: &str, value: &[u8]) -> Result<HeaderValue, SourceError> {
    let value = HeaderValue::from_bytes(value);
    let mut value = value.map_err(|_| failed(id, "it is no header value".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn failed(id: &str, reason: String) -> SourceError {
    SourceError::HttpSecret {
        id: id.to_owned(),
        reason,
    }
}
