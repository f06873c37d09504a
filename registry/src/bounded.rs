//! Reading of answers whose size and pace the other end decides.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;

use crate::report;

/// Largest manifest or index that is accepted, as registries and other clients have it.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Largest answer of a token server.
pub(crate) const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// How much of an error's text is read.
pub(crate) const MAX_ERROR_BYTES: u64 = 64 << 10;

/// How a bounded read failed.
pub(crate) enum BoundedError {
    TooLarge,
    Lost(Lost),
}

/// How the rest of an answer was lost.
pub(crate) enum Lost {
    /// The connection broke.
    Broken(String),
    /// The other end said nothing for too long.
    Silent,
}

impl Lost {
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Broken(reason) => reason,
            Self::Silent => "nothing came for a while".to_owned(),
        }
    }
}

/// Reads the body of `response` into memory, at most `limit` bytes of it.
pub(crate) async fn read(
    mut response: Response,
    limit: u64,
    patience: Duration,
) -> Result<Vec<u8>, BoundedError> {
    if response.content_length().is_some_and(|size| size > limit) {
        return Err(BoundedError::TooLarge);
    }
    let mut data = Vec::new();
    while let Some(chunk) = next(&mut response, patience)
        .await
        .map_err(BoundedError::Lost)?
    {
        if (data.len() + chunk.len()) as u64 > limit {
            return Err(BoundedError::TooLarge);
        }
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}

/// Returns what comes next of the body of `response`; `None` at its end.
pub(crate) async fn next(
    response: &mut Response,
    patience: Duration,
) -> Result<Option<Bytes>, Lost> {
    match tokio::time::timeout(patience, response.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| Lost::Broken(report::reason(&error))),
        Err(_) => Err(Lost::Silent),
    }
}
