//! How many sequences, and which.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::io::Result;

use crate::support::in_user_namespace;
use crate::support::random::Random;
use crate::support::random::one_in;
use crate::support::steps;
use crate::support::steps::Kinds;
use crate::support::steps::Step;

/// `COUNT` or `COUNT@SEED`: how many sequences, and the seed of the first tree.
const VARIABLE: &str = "LAMINA_TEST_SEQUENCES";

const COUNT: u64 = 10_000;

/// Without the kernel's shortcuts for root they take longer.
const COUNT_IN_USER_NAMESPACE: u64 = 1_000;

/// Sequences that follow each other on one tree, each in a layer of its own.
pub(super) const LAYERS: usize = 4;

const KINDS: Kinds = Kinds {
    hard_links: true,
    sockets: false,
};

const STEPS: std::ops::Range<usize> = 5..21;

/// A test that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is to be done.
pub(super) struct Plan {
    pub(super) trees: usize,
    test: &'static str,
    seed: u64,
    deadline: Instant,
    calls: AtomicUsize,
    /// Those that only overlayfs refuses.
    refused: AtomicUsize,
}

impl Plan {
    /// Takes the plan from the environment.
    pub(super) fn new(test: &'static str) -> Self {
        let count = match in_user_namespace() {
            true => COUNT_IN_USER_NAMESPACE,
            false => COUNT,
        };
        let count = count / one_in();
        let wish = std::env::var(VARIABLE).unwrap_or(count.to_string());
        let (count, seed) = wish.split_once('@').unwrap_or((&wish, "0"));
        Self {
            trees: count.parse::<usize>().unwrap().div_ceil(LAYERS),
            test,
            seed: seed.parse().unwrap(),
            deadline: Instant::now() + PATIENCE,
            calls: AtomicUsize::default(),
            refused: AtomicUsize::default(),
        }
    }

    /// Counts a call for the report.
    pub(super) fn count(&self, outcome: &Result<Vec<u8>>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if *outcome == Err(Errno::XDEV) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the sequence of a layer of a tree.
    pub(super) fn sequence(&self, tree: usize, layer: usize) -> Vec<Step> {
        assert!(Instant::now() < self.deadline, "not within {PATIENCE:?}");
        let mut random = Random::new(self.seed + tree as u64);
        let mut sequences = std::iter::repeat_with(|| {
            let count = STEPS.start + random.below(STEPS.len());
            steps::script(&mut random, count, KINDS)
        });
        sequences.nth(layer).unwrap_or_default()
    }

    /// Describes where something went wrong, so that it can be done again.
    pub(super) fn at(&self, tree: usize, layer: usize) -> String {
        let seed = self.seed + tree as u64;
        format!("layer {layer} of seed {seed}, again by {VARIABLE}={LAYERS}@{seed}")
    }
}

impl Drop for Plan {
    #[expect(clippy::print_stderr, reason = "seeds are for the reader of the log")]
    fn drop(&mut self) {
        let (test, sequences, seed) = (self.test, self.trees * LAYERS, self.seed);
        let (calls, refused) = (self.calls.get_mut(), self.refused.get_mut());
        eprintln!(
            "{test}: {sequences} sequences from seed {seed}; {calls} calls, {refused} refused"
        );
    }
}
