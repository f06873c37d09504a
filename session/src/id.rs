//! Ids of sessions and builds.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Makes up an id: 25 letters and digits, as BuildKit's clients make them. Enough to be unique, and
/// not a secret.
#[must_use]
pub fn fresh_id() -> String {
    let mut bytes = [0; 16];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes = fallback_number().to_le_bytes();
    }
    let mut rest = u128::from_le_bytes(bytes);
    (0..25)
        .map(|_| {
            let digit = u32::try_from(rest % 36).unwrap_or_default();
            rest /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}

/// For systems that refuse random numbers: time, process and a count are unique together.
fn fallback_number() -> u128 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    nanoseconds << 48 | u128::from(std::process::id()) << 16 | u128::from(count & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ() {
        let (a, b) = (fresh_id(), fresh_id());
        assert!([&a, &b].iter().all(|id| id.len() == 25), "{a} {b}");
        assert!(a.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{a}");
        assert_ne!(a, b);
        assert_ne!(fallback_number(), fallback_number());
    }
}
