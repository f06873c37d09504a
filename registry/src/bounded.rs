//! Reading of answers whose size the other end decides.

use reqwest::Response;

/// Largest manifest or index that is accepted, as registries and other clients have it.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Largest answer of a token server.
pub(crate) const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// How much of an error's text is read.
pub(crate) const MAX_ERROR_BYTES: u64 = 64 << 10;

/// How a bounded read failed.
pub(crate) enum BoundedError {
    TooLarge,
    Transport(reqwest::Error),
}

/// Reads the body of `response` into memory, at most `limit` bytes of it.
pub(crate) async fn read(mut response: Response, limit: u64) -> Result<Vec<u8>, BoundedError> {
    if response.content_length().is_some_and(|size| size > limit) {
        return Err(BoundedError::TooLarge);
    }
    let mut data = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BoundedError::Transport)? {
        if (data.len() + chunk.len()) as u64 > limit {
            return Err(BoundedError::TooLarge);
        }
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}
