//! What a remote is told of who asks (row SRC-18).
//!
//! All secrets are optional: what the client does not have is not sent. They are given to git as
//! settings in its environment, for this remote's address only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::GitError;
use super::program::Git;
use super::remote::Remote;
use super::remote::basic;
use super::wish::GitWish;
use crate::SourceContext;
use crate::SourceError;

/// The user that servers expect with a token.
const TOKEN_USER: &str = "x-access-token";

/// Lets `git` send what the client, or else the address, has for the remote.
///
/// # Errors
/// [`GitError::Secret`] if a secret cannot be sent.
pub(super) async fn add(
    git: &mut Git,
    remote: &Remote,
    wish: &GitWish,
    context: &SourceContext,
) -> Result<(), SourceError> {
    if !remote.is_http() {
        return Ok(());
    }
    let given = from_client(remote, wish, context).await?;
    let Some(value) = given.or_else(|| remote.login.clone()) else {
        return Ok(());
    };
    git.secrets.extend(secret_parts(&value));
    let name = format!("http.{}.extraHeader", remote.scope());
    git.settings.push((name, format!("Authorization: {value}")));
    Ok(())
}

/// Returns what the first secret that the client has becomes.
async fn from_client(
    remote: &Remote,
    wish: &GitWish,
    context: &SourceContext,
) -> Result<Option<String>, SourceError> {
    let kinds = [(&wish.header_secret, false), (&wish.token_secret, true)];
    for suffix in [format!(".{}", remote.host), String::new()] {
        for (id, is_token) in kinds {
            let Some(id) = id.as_ref().map(|id| format!("{id}{suffix}")) else {
                continue;
            };
            if let Some(secret) = context.offered_secret(&id).await? {
                let secret = text(&id, secret)?;
                let value = if is_token {
                    basic(TOKEN_USER, &secret)
                } else {
                    secret
                };
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

/// A line feed at the end comes from the editor or from `echo`; within, it would be another header.
fn text(id: &str, secret: Vec<u8>) -> Result<String, GitError> {
    let wrong = |reason| GitError::Secret {
        id: id.to_owned(),
        reason,
    };
    let secret = String::from_utf8(secret).map_err(|_| wrong("it is no text"))?;
    let secret = secret.trim_end_matches(['\n', '\r']);
    if secret.chars().any(char::is_control) {
        return Err(wrong("it is no header value"));
    }
    Ok(secret.to_owned())
}

/// Returns what must not be shown of an `Authorization`: also what it encodes.
fn secret_parts(value: &str) -> Vec<String> {
    let credential = value.rsplit(' ').next().unwrap_or(value);
    let mut parts = vec![credential.to_owned()];
    let decoded = STANDARD.decode(credential).ok();
    if let Some(decoded) = decoded.and_then(|decoded| String::from_utf8(decoded).ok()) {
        let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
        parts.push(password.to_owned());
        if user != TOKEN_USER {
            parts.push(user.to_owned());
        }
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_fit_for_a_header() {
        let text = |secret: &[u8]| text("id", secret.to_vec()).map_err(|error| error.to_string());
        assert_eq!(text(b"token\n").as_deref(), Ok("token"));
        for secret in [&b"a\nb"[..], b"\xff"] {
            let error = text(secret).expect_err("refused");
            assert!(
                error.starts_with("failed to use git auth secret id: "),
                "{error}"
            );
        }
    }

    #[test]
    fn all_forms_of_a_secret_are_hidden() {
        let value = basic(TOKEN_USER, "secret");
        let encoded = value.split(' ').nth(1).expect("two words");
        assert_eq!(secret_parts(&value), [encoded, "secret"]);
        assert_eq!(secret_parts("Bearer abcd.efgh"), ["abcd.efgh"]);
    }
}
