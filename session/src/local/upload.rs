//! Data that sources read by URL (row SVC-17).

use std::fmt;
use std::io::Cursor;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use tokio::io::AsyncRead;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// What is behind one URL path.
pub(super) enum Upload {
    Bytes(Bytes),
    /// `None` = it was read already.
    Reader(Mutex<Option<Reader>>),
}

impl Upload {
    pub(super) fn bytes(data: Bytes) -> Self {
        Self::Bytes(data)
    }

    pub(super) fn reader(reader: Reader) -> Self {
        Self::Reader(Mutex::new(Some(reader)))
    }

    /// Opens the data; `None` if it can be read only once and was.
    pub(super) fn open(&self) -> Option<Reader> {
        match self {
            Self::Bytes(data) => Some(Box::new(Cursor::new(data.clone()))),
            Self::Reader(reader) => reader.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// URL paths begin with a slash, however they were written.
pub(super) fn key(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(data) => write!(f, "{} bytes", data.len()),
            Self::Reader(_) => f.write_str("a stream"),
        }
    }
}
