//! I/O errors with the path that they are about.

use std::fmt;
use std::io;

/// An I/O error and the path that it is about: in-image where an image is concerned.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {}", io_message(.source))]
pub struct PathError {
    /// The path as the user knows it.
    pub path: String,
    /// What went wrong.
    #[source]
    pub source: io::Error,
}

/// Writes an error of the system as `strerror` words it, without Rust's "(os error N)".
fn io_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

/// Adds a path to an I/O result at the call site.
pub trait IoContext<T> {
    /// Names what the operation was about.
    ///
    /// # Errors
    /// The given error, with `path`.
    fn at(self, path: impl fmt::Display) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, path: impl fmt::Display) -> Result<T, PathError> {
        self.map_err(|source| PathError {
            path: path.to_string(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_path_and_omit_the_number() {
        let error = Err::<(), _>(io::Error::from_raw_os_error(2))
            .at("/a")
            .expect_err("failed");
        assert_eq!(error.to_string(), "/a: no such file or directory");
    }
}
