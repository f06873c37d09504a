//! Ids of sessions.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// 25 letters and digits, as BuildKit's clients make them: enough to be unique, and not a secret.
pub(super) fn fresh() -> String {
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
