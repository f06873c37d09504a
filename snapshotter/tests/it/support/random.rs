//! Random numbers from a printed seed.

use std::ops::Range;

/// Set where everything is slow: one in so many rounds of a random test is enough.
const ONE_IN: &str = "LAMINA_TEST_ONE_IN";

/// `TIMES@SEED`: so many times as many rounds, from seeds that are so much higher.
const ROUNDS: &str = "LAMINA_TEST_ROUNDS";

/// Returns the seeds of a random test that usually has `usual` rounds, from the seed `first` on.
pub(crate) fn seeds(first: u64, usual: u64) -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().ok();
    let wish = std::env::var(ROUNDS).unwrap_or_default();
    let (times, higher) = wish.split_once('@').unwrap_or((&wish, ""));
    let rounds = usual * number(times).unwrap_or(1);
    let first = first + number(higher).unwrap_or(0);
    first..first + rounds.div_ceil(one_in())
}

/// Returns which share of the usual rounds is enough: one in so many.
pub(crate) fn one_in() -> u64 {
    let wish = std::env::var(ONE_IN).ok();
    let number = wish.and_then(|text| text.parse().ok());
    number.unwrap_or(1).max(1)
}

/// The splitmix64 generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
