//! The error that is reported when many threads work on one tree.

use std::cmp::Ordering;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The first error in path order that any thread has noted.
///
/// So the error of a walk does not depend on how its work was spread: who fails notes the error with
/// the path, and goes on with all that is not [behind](Self::is_behind) it.
#[derive(Debug)]
pub struct FirstError<E>(Mutex<Option<(Vec<u8>, E)>>);

impl<E> Default for FirstError<E> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<E> FirstError<E> {
    /// Starts without an error.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<u8>, E)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an error at `path`; no path at all comes first, which is for the end of all work.
    pub fn note(&self, path: &[u8], error: E) {
        let mut first = self.lock();
        let is_first = |(noted, _): &(Vec<u8>, E)| path_order(path, noted) == Ordering::Less;
        if first.as_ref().is_none_or(is_first) {
            *first = Some((path.to_vec(), error));
        }
    }

    /// Says whether an error was noted before `path`, so that what happens there does not count.
    #[must_use]
    pub fn is_behind(&self, path: &[u8]) -> bool {
        let first = self.lock();
        first
            .as_ref()
            .is_some_and(|(noted, _)| path_order(path, noted) == Ordering::Greater)
    }

    /// Returns the first error, if there was any.
    ///
    /// # Errors
    /// That one.
    pub fn into_result(self) -> Result<(), E> {
        let first = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Compares paths as a walk meets them: name by name, a directory before what is inside.
fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|&byte| byte == b'/')
        .cmp(b.split(|&byte| byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_path_order_is_kept() {
        for (noted, first) in [
            (&["b", "a", "c"][..], "a"),
            (&["a/b", "a"], "a"),
            // Below a directory comes before what sorts after its name, whatever the bytes say.
            (&["a-b", "a/b"], "a/b"),
            (&["a", ""], ""),
            (&["/b", "/"], "/"),
        ] {
            let error = FirstError::new();
            noted
                .iter()
                .for_each(|path| error.note(path.as_bytes(), *path));
            assert_eq!(error.into_result(), Err(first), "{noted:?}");
        }
        assert_eq!(FirstError::<()>::new().into_result(), Ok(()));
    }

    #[test]
    fn only_what_comes_later_does_not_count() {
        let error = FirstError::new();
        assert!(!error.is_behind(b"z"));
        error.note(b"m/m", ());
        for (path, behind) in [
            ("m", false),
            ("m/a", false),
            ("m/m", false),
            ("m/m/a", true),
        ] {
            assert_eq!(error.is_behind(path.as_bytes()), behind, "{path}");
        }
        assert!(error.is_behind(b"m-m"));
    }
}
