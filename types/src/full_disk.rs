//! Telling a full disk from other trouble.

use std::error::Error;
use std::io;

/// Says whether `error`, or what is behind it, is that a disk or a quota has no space left.
#[must_use]
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(is_full) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_full(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => true,
        // What an I/O error was made of is not its source.
        _ => error
            .get_ref()
            .is_some_and(|inner| is_disk_full(inner as &(dyn Error + 'static))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PathError;

    const ENOSPC: i32 = 28;
    const EDQUOT: i32 = 122;
    const EIO: i32 = 5;

    fn behind(code: i32) -> PathError {
        PathError {
            path: "/x".to_owned(),
            source: io::Error::from_raw_os_error(code),
        }
    }

    #[test]
    fn full_disks_are_told_however_deep_they_are() {
        for (name, error, full) in [
            ("no space", io::Error::from_raw_os_error(ENOSPC), true),
            ("no quota", io::Error::from_raw_os_error(EDQUOT), true),
            ("broken", io::Error::from_raw_os_error(EIO), false),
            ("wrapped", io::Error::other(behind(ENOSPC)), true),
            (
                "wrapped twice",
                io::Error::other(io::Error::other(behind(ENOSPC))),
                true,
            ),
            ("wrapped, broken", io::Error::other(behind(EIO)), false),
            ("words", io::Error::other("no space left on device"), false),
        ] {
            assert_eq!(is_disk_full(&error), full, "{name}");
        }
        assert!(is_disk_full(&behind(ENOSPC)));
    }
}
