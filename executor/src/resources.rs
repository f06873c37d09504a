//! What a single step may use of memory and processors (row EXC-09, `linux_resources` of the wire).

/// Limits of one step, enforced by its control group. The default limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory; 0 = any.
    pub memory_bytes: u64,
    /// Bytes of memory and swap together; 0 = not said, `u64::MAX` = any.
    pub memory_and_swap_bytes: u64,
    /// Share of the processors where there are not enough for all, 1024 being usual; 0 = not said.
    pub cpu_shares: u64,
    /// Length of a period in microseconds; 0 = the kernel's, a tenth of a second.
    pub cpu_period_us: u64,
    /// Time on processors in each period in microseconds; 0 = any.
    pub cpu_quota_us: u64,
    /// The processors that may be used, such as `0-2,7`; empty = all.
    pub cpus: String,
    /// The memory nodes that may be used, in the same form; empty = all.
    pub memory_nodes: String,
}

impl Resources {
    /// Says whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
