//! The files of a control group that limit a step.
//!
//! | limit | version 1 | version 2 |
//! |---|---|---|
//! | memory | `memory.limit_in_bytes` | `memory.max` |
//! | memory and swap | `memory.memsw.limit_in_bytes` | `memory.swap.max`, without the memory |
//! | shares | `cpu.shares`, 2 to 262144 | `cpu.weight`, 1 to 10000 |
//! | quota, period | `cpu.cfs_quota_us`, `cpu.cfs_period_us` | `cpu.max` |
//! | processors, nodes | `cpuset.cpus`, `cpuset.mems` | the same |

use super::tree::Version;
use crate::Resources;

/// The range of shares in version 1, and of weights in version 2.
const SHARES: (u64, u64) = (2, 262_144);
const WEIGHTS: (u64, u64) = (1, 10_000);

/// The kernel's period in microseconds.
const USUAL_PERIOD_US: u64 = 100_000;

/// One file to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// What has to be in the tree.
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
}

impl Setting {
    fn new(controller: &'static str, file: &'static str, value: impl ToString) -> Self {
        Self {
            controller,
            file,
            value: value.to_string(),
        }
    }
}

/// Lists what `resources` ask of groups of a version, in the order of writing.
pub(super) fn settings(resources: &Resources, version: Version) -> Vec<Setting> {
    let mut all = match version {
        Version::One => memory_1(resources),
        Version::Two => memory_2(resources),
    };
    all.extend(match version {
        Version::One => cpu_1(resources),
        Version::Two => cpu_2(resources),
    });
    for (file, value) in [
        ("cpuset.cpus", &resources.cpus),
        ("cpuset.mems", &resources.memory_nodes),
    ] {
        if !value.is_empty() {
            all.push(Setting::new("cpuset", file, value));
        }
    }
    all
}

/// Memory first: alone it may never be more than with swap.
fn memory_1(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    if resources.memory_bytes > 0 {
        let value = resources.memory_bytes;
        all.push(Setting::new("memory", "memory.limit_in_bytes", value));
    }
    let value = match resources.memory_and_swap_bytes {
        0 => return all,
        u64::MAX => "-1".to_owned(),
        bytes => bytes.to_string(),
    };
    all.push(Setting::new("memory", "memory.memsw.limit_in_bytes", value));
    all
}

fn memory_2(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    if resources.memory_bytes > 0 {
        let value = resources.memory_bytes;
        all.push(Setting::new("memory", "memory.max", value));
    }
    let value = match resources.memory_and_swap_bytes {
        0 => return all,
        u64::MAX => "max".to_owned(),
        both => both.saturating_sub(resources.memory_bytes).to_string(),
    };
    all.push(Setting::new("memory", "memory.swap.max", value));
    all
}

fn cpu_1(resources: &Resources) -> Vec<Setting> {
    [
        ("cpu.shares", resources.cpu_shares),
        ("cpu.cfs_period_us", resources.cpu_period_us),
        ("cpu.cfs_quota_us", resources.cpu_quota_us),
    ]
    .into_iter()
    .filter(|(_, value)| *value > 0)
    .map(|(file, value)| Setting::new("cpu", file, value))
    .collect()
}

fn cpu_2(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    if resources.cpu_shares > 0 {
        let value = weight(resources.cpu_shares);
        all.push(Setting::new("cpu", "cpu.weight", value));
    }
    let (quota, period) = (resources.cpu_quota_us, resources.cpu_period_us);
    if (quota, period) != (0, 0) {
        let quota = match quota {
            0 => "max".to_owned(),
            quota => quota.to_string(),
        };
        let period = if period == 0 { USUAL_PERIOD_US } else { period };
        all.push(Setting::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    all
}

/// Maps shares to weights as runtimes do: end to end, and evenly between.
fn weight(shares: u64) -> u64 {
    let above = shares.clamp(SHARES.0, SHARES.1) - SHARES.0;
    WEIGHTS.0 + above * (WEIGHTS.1 - WEIGHTS.0) / (SHARES.1 - SHARES.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resources: &Resources, version: Version) -> String {
        let all = settings(resources, version);
        let all: Vec<String> = all
            .iter()
            .map(|one| format!("{}={}", one.file, one.value))
            .collect();
        all.join(" ")
    }

    #[test]
    fn limits_have_their_files_in_both_versions() {
        let none = Resources::default();
        let memory = |memory_bytes, memory_and_swap_bytes| Resources {
            memory_bytes,
            memory_and_swap_bytes,
            ..Resources::default()
        };
        let quota = |cpu_quota_us, cpu_period_us| Resources {
            cpu_quota_us,
            cpu_period_us,
            ..Resources::default()
        };
        let sets = Resources {
            cpus: "0-1".to_owned(),
            memory_nodes: "0".to_owned(),
            cpu_shares: 1024,
            ..Resources::default()
        };
        for (name, resources, one, two) in [
            ("none", none, "", ""),
            (
                "memory",
                memory(64, 0),
                "memory.limit_in_bytes=64",
                "memory.max=64",
            ),
            (
                "memory and swap",
                memory(64, 96),
                "memory.limit_in_bytes=64 memory.memsw.limit_in_bytes=96",
                "memory.max=64 memory.swap.max=32",
            ),
            (
                "less with swap than without",
                memory(64, 32),
                "memory.limit_in_bytes=64 memory.memsw.limit_in_bytes=32",
                "memory.max=64 memory.swap.max=0",
            ),
            (
                "any swap",
                memory(0, u64::MAX),
                "memory.memsw.limit_in_bytes=-1",
                "memory.swap.max=max",
            ),
            (
                "quota",
                quota(50_000, 0),
                "cpu.cfs_quota_us=50000",
                "cpu.max=50000 100000",
            ),
            (
                "period",
                quota(0, 20_000),
                "cpu.cfs_period_us=20000",
                "cpu.max=max 20000",
            ),
            (
                "shares and sets",
                sets,
                "cpu.shares=1024 cpuset.cpus=0-1 cpuset.mems=0",
                "cpu.weight=39 cpuset.cpus=0-1 cpuset.mems=0",
            ),
        ] {
            assert_eq!(written(&resources, Version::One), one, "{name}");
            assert_eq!(written(&resources, Version::Two), two, "{name}");
        }
    }

    #[test]
    fn weights_stay_in_their_range() {
        for (shares, expected) in [
            (1, 1),
            (2, 1),
            (1024, 39),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
