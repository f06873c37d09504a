//! Credentials and tokens of the client (rows SVC-10 to SVC-12).

use std::sync::OnceLock;
use std::time::Duration;

use lamina_proto::filesync::CredentialsRequest;
use lamina_proto::filesync::FetchTokenRequest;
use lamina_proto::filesync::GetTokenAuthorityRequest;
use lamina_proto::filesync::auth_client::AuthClient;
use tonic::Code;
use tonic::Response;
use tonic::Status;

use super::client;
use super::link::Link;
use crate::Credentials;
use crate::SessionError;
use crate::Token;
use crate::TokenRequest;

/// How long a client may take, since it may ask its user.
const LIMIT: Duration = Duration::from_secs(60);

/// Length of the key by which a client proves that it knows the credentials.
const KEY_BYTES: usize = 32;

pub(super) async fn credentials(
    link: &Link,
    host: &str,
) -> Result<Option<Credentials>, SessionError> {
    let mut client = client!(AuthClient, link);
    let call = client.credentials(CredentialsRequest {
        host: host.to_owned(),
    });
    match limited(link, "resolving credentials from session", call).await? {
        Ok(answer) if answer.secret.is_empty() => Ok(None),
        Ok(answer) => Ok(Some(Credentials {
            username: answer.username,
            secret: answer.secret,
        })),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(SessionError::from_status(status)),
    }
}

pub(super) async fn fetch_token(
    link: &Link,
    request: &TokenRequest,
) -> Result<Option<Token>, SessionError> {
    if !has_authority(link, &request.host).await? {
        return Ok(None);
    }
    let mut client = client!(AuthClient, link);
    let call = client.fetch_token(FetchTokenRequest {
        client_id: request.client_id.clone(),
        host: request.host.clone(),
        realm: request.realm.clone(),
        service: request.service.clone(),
        scopes: request.scopes.clone(),
    });
    match limited(link, "fetching auth token from session", call).await? {
        Ok(answer) => Ok(Some(Token {
            token: answer.token,
            expires_in: answer.expires_in,
            issued_at: answer.issued_at,
        })),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(SessionError::from_status(status)),
    }
}

/// Asks whether the client wants to fetch tokens for a registry itself.
async fn has_authority(link: &Link, host: &str) -> Result<bool, SessionError> {
    let mut client = client!(AuthClient, link);
    let call = client.get_token_authority(GetTokenAuthorityRequest {
        host: host.to_owned(),
        salt: salt().to_vec(),
    });
    match limited(link, "getting token authority from session", call).await? {
        Ok(answer) if answer.public_key.len() == KEY_BYTES => Ok(true),
        Ok(answer) => Err(SessionError::Protocol(format!(
            "invalid pubkey length {}",
            answer.public_key.len()
        ))),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable) => {
            Ok(false)
        }
        Err(status) => Err(SessionError::from_status(status)),
    }
}

/// Differs each time the daemon starts, so that keys made with it do not last.
fn salt() -> &'static [u8; 32] {
    static SALT: OnceLock<[u8; 32]> = OnceLock::new();
    SALT.get_or_init(|| {
        let mut salt = [0; 32];
        let flags = rustix::rand::GetRandomFlags::empty();
        if rustix::rand::getrandom(&mut salt, flags).is_err() {
            // The keys of a client then last longer; nothing else depends on them.
            tracing::warn!("there are no random numbers");
        }
        salt
    })
}

async fn limited<T>(
    link: &Link,
    purpose: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Result<T, Status>, SessionError> {
    let Ok(answer) = tokio::time::timeout(LIMIT, link.call(call)).await else {
        let message = format!("{purpose}: context deadline exceeded");
        return Err(super::refusal(&message));
    };
    Ok(answer?.map(Response::into_inner))
}
