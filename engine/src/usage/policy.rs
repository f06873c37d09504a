//! What garbage collection keeps (rows CFG-07, CFG-08, CTL-12).

use std::time::Duration;

use lamina_proto::worker;

use crate::GcOptions;
use crate::GcPolicy;

const DAY: Duration = Duration::from_secs(24 * 3600);
const GB: u64 = 1_000_000_000;

/// What is easily made again: the first to go.
const EASY: [&str; 3] = [
    "type==source.local",
    "type==exec.cachemount",
    "type==source.git.checkout",
];

/// It is kept to this once it was not used for two days.
const EASY_BYTES: u64 = 512_000_000;
const RESERVED: (u64, u64) = (10, 10 * GB);
const MAX_USED: (u64, u64) = (80, 100 * GB);
const MIN_FREE_PERCENT: u64 = 20;

/// The size of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// Returns the rules in their order: those of the configuration, else the usual ones; none if nothing
/// is collected by itself.
pub(super) fn resolve(options: &GcOptions, disk: DiskSpace) -> Vec<GcPolicy> {
    if !options.enabled {
        return Vec::new();
    }
    if !options.policies.is_empty() {
        return options.policies.clone();
    }
    let capped = GcPolicy {
        reserved_space: percent(disk, RESERVED.0).min(RESERVED.1),
        max_used_space: percent(disk, MAX_USED.0).min(MAX_USED.1),
        min_free_space: percent(disk, MIN_FREE_PERCENT),
        ..GcPolicy::default()
    };
    GcPolicy::usual_set(&capped)
}

impl GcPolicy {
    /// Returns the four steps in which a cache is kept within the sizes of `caps` (row CFG-08): first
    /// what is easily made again and old, then all that is very old, then all, then what is internal.
    #[must_use]
    pub fn usual_set(caps: &Self) -> Vec<Self> {
        let capped = Self {
            all: false,
            filters: Vec::new(),
            keep_duration: Duration::ZERO,
            ..caps.clone()
        };
        vec![
            Self {
                filters: EASY.map(str::to_owned).to_vec(),
                keep_duration: 2 * DAY,
                max_used_space: EASY_BYTES,
                ..Self::default()
            },
            Self {
                keep_duration: 60 * DAY,
                ..capped.clone()
            },
            capped.clone(),
            Self {
                all: true,
                ..capped
            },
        ]
    }
}

/// Returns a part of the disk in whole gigabytes, rounded up.
fn percent(disk: DiskSpace, percent: u64) -> u64 {
    let bytes = disk.total / 100 * percent;
    (bytes / (1 << 30) + 1) * GB
}

/// Returns the bytes that a rule lets the cache have; `None` = it has no limit, so that everything
/// that matches goes.
pub(super) fn keep_bytes(rule: &GcPolicy, used: u64, disk: DiskSpace) -> Option<u64> {
    if rule.max_used_space == 0 && rule.reserved_space == 0 && rule.min_free_space == 0 {
        return None;
    }
    let excess = rule.min_free_space.saturating_sub(disk.free);
    let enough_free = used.saturating_sub(excess);
    let keep = match rule.max_used_space {
        0 if rule.min_free_space == 0 => 0,
        0 if excess == 0 => u64::MAX,
        0 => enough_free,
        max if excess > 0 => max.min(enough_free),
        max => max,
    };
    Some(keep.max(rule.reserved_space))
}

/// Returns a rule as clients see it.
pub(crate) fn policy_message(policy: &GcPolicy) -> worker::GcPolicy {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    worker::GcPolicy {
        all: policy.all,
        keep_duration: i64::try_from(policy.keep_duration.as_nanos()).unwrap_or(i64::MAX),
        filters: policy.filters.clone(),
        reserved_space: number(policy.reserved_space),
        max_used_space: number(policy.max_used_space),
        min_free_space: number(policy.min_free_space),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(reserved_space: u64, max_used_space: u64, min_free_space: u64) -> GcPolicy {
        GcPolicy {
            reserved_space,
            max_used_space,
            min_free_space,
            ..GcPolicy::default()
        }
    }

    #[test]
    fn how_much_is_kept() {
        let disk = DiskSpace {
            total: 1_000,
            free: 100,
        };
        for (name, rule, wanted) in [
            ("no limits", rule(0, 0, 0), None),
            ("a maximum", rule(0, 300, 0), Some(300)),
            (
                "reserved is more than the maximum",
                rule(400, 300, 0),
                Some(400),
            ),
            ("reserved alone", rule(400, 0, 0), Some(400)),
            ("enough is free", rule(0, 0, 50), Some(u64::MAX)),
            ("just enough is free", rule(0, 0, 100), Some(u64::MAX)),
            ("too little is free", rule(0, 0, 250), Some(350)),
            ("both", rule(0, 400, 250), Some(350)),
            ("the maximum is lower", rule(0, 300, 150), Some(300)),
            (
                "free space cannot eat what is reserved",
                rule(450, 0, 250),
                Some(450),
            ),
            ("more than there is", rule(0, 0, 900), Some(0)),
        ] {
            assert_eq!(keep_bytes(&rule, 500, disk), wanted, "{name}");
        }
    }

    #[test]
    fn the_usual_rules() {
        let disk = DiskSpace {
            total: 50 << 30,
            free: 0,
        };
        let options = GcOptions {
            enabled: true,
            policies: Vec::new(),
        };
        let rules = resolve(&options, disk);
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].filters.len(), 3);
        assert_eq!(rules[1].keep_duration, 60 * DAY);
        assert_eq!(rules[2].reserved_space, 5 * GB + GB);
        assert_eq!(rules[2].max_used_space, 40 * GB + GB);
        assert!(rules[3].all);
        assert!(resolve(&GcOptions::default(), disk).is_empty());
    }
}
