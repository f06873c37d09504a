//! Damaged databases: what redb meets with a panic becomes an error.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use lamina_types::panic_text;

/// Works on a database. redb checks its pages only after a crash, and panics at some that make no sense;
/// that becomes [`redb::Error::Corrupted`].
///
/// # Errors
/// As `work`.
pub fn catch_damage<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    // A transaction that is dropped on the way changes nothing, so nothing is left half done.
    let caught = catch_unwind(AssertUnwindSafe(work));
    caught.unwrap_or_else(|panic| Err(redb::Error::Corrupted(panic_text(&*panic))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_damage() {
        assert_eq!(catch_damage(|| Ok(3)).expect("no damage"), 3);
        let error = catch_damage::<()>(|| panic!("page 7")).expect_err("damage");
        assert!(
            matches!(&error, redb::Error::Corrupted(text) if text == "page 7"),
            "{error}"
        );
    }
}
