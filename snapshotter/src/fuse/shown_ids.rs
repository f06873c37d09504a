//! Which owners the kernel can be told of.
//!
//! A mount belongs to a user namespace, and the kernel knows only ids that this namespace maps. Of a file
//! with any other owner it would say "nobody", and, worse, refuse root of the namespace nearly everything:
//! writing to it, replacing it, even deleting it fails with `EACCES` or `EOVERFLOW`. So whoever cannot be
//! named is shown as root, who may do all that a step of a build has to do. What the layer says of the
//! owner stays until a step gives the file to somebody.

use std::ops::RangeInclusive;

/// The ids of the user namespace that this process, and so its mounts, are in.
pub(super) struct ShownIds {
    uids: Vec<RangeInclusive<u32>>,
    gids: Vec<RangeInclusive<u32>>,
}

impl ShownIds {
    /// Reads what is mapped here; everything if that cannot be told.
    pub(super) fn of_this_process() -> Self {
        let read = |path| std::fs::read_to_string(path).map(|map| ranges(&map));
        let all = || vec![0..=u32::MAX];
        Self {
            uids: read("/proc/self/uid_map").unwrap_or_else(|_| all()),
            gids: read("/proc/self/gid_map").unwrap_or_else(|_| all()),
        }
    }

    /// Returns what the kernel is told of an owner.
    pub(super) fn of(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (shown(&self.uids, uid), shown(&self.gids, gid))
    }
}

fn shown(mapped: &[RangeInclusive<u32>], id: u32) -> u32 {
    match mapped.iter().any(|range| range.contains(&id)) {
        true => id,
        false => 0,
    }
}

/// Reads a map of the kernel's: lines `inside outside count`.
fn ranges(map: &str) -> Vec<RangeInclusive<u32>> {
    let range = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (first, count) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        Some(first..=first.checked_add(count.checked_sub(1)?)?)
    };
    map.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_mapped_is_shown_as_root() {
        for (map, id, expected) in [
            ("0 0 4294967295\n", 4_294_967_294, 4_294_967_294),
            ("0 1000 1\n", 0, 0),
            ("0 1000 1\n", 1, 0),
            ("0 1000 1\n1 100000 65536\n", 65536, 65536),
            ("0 1000 1\n1 100000 65536\n", 65537, 0),
            ("0 1000 0\n", 5, 0),
            ("what\n", 5, 0),
            ("5 5 4294967295\n", 5, 0),
        ] {
            assert_eq!(shown(&ranges(map), id), expected, "{map:?} {id}");
        }
    }
}
