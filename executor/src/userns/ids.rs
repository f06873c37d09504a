//! Ranges of ids: the files that grant them, and the maps that use them.

use std::path::Path;

/// So many ids from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// Returns the subordinate user and group ids of `user`, if there are both and the programs that
/// can map them.
pub(super) fn subordinate(user: u32) -> Option<(Vec<IdRange>, Vec<IdRange>)> {
    let name = name(user);
    let ranges = |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        parse(&text, user, name.as_deref())
    };
    let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    let usable =
        !uids.is_empty() && !gids.is_empty() && installed("newuidmap") && installed("newgidmap");
    usable.then_some((uids, gids))
}

/// Returns the name of a user, if it has one.
pub(super) fn name(user: u32) -> Option<String> {
    let found = nix::unistd::User::from_uid(user.into()).ok().flatten();
    found.map(|entry| entry.name)
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
}

/// Parses lines `name-or-uid:start:count`.
pub(super) fn parse(text: &str, user: u32, name: Option<&str>) -> Vec<IdRange> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.trim().split(':');
            let owner = parts.next()?;
            let (start, count) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let ours = Some(owner) == name || owner.parse() == Ok(user);
            (ours && count > 0).then_some(IdRange { start, count })
        })
        .collect()
}

/// Writes the map as arguments: the own id becomes root, the ranges follow.
pub(super) fn map_arguments(own: u32, ranges: &[IdRange]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside: u32 = 1;
    for range in ranges {
        // More than all ids there are cannot be mapped.
        let count = range.count.min(u32::MAX - inside);
        arguments.extend([inside, range.start, count].map(|number| number.to_string()));
        inside = inside.saturating_add(count);
    }
    arguments
}

/// Counts the ids in a map of the kernel's: lines `inside outside count`.
pub(super) fn count_mapped(map: &str) -> u32 {
    map.lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok())
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "# none\nme:100000:65536\nyou:165536:65536\n1000:300000:10\nme:bad:1\nme:5:0\n";
        let range = |start, count| IdRange { start, count };
        for (name, user, user_name, expected) in [
            (
                "both",
                1000,
                Some("me"),
                vec![range(100_000, 65536), range(300_000, 10)],
            ),
            ("name only", 7, Some("you"), vec![range(165_536, 65536)]),
            ("neither", 7, None, vec![]),
        ] {
            assert_eq!(parse(text, user, user_name), expected, "{name}");
        }
    }

    #[test]
    fn maps_put_root_first() {
        let ranges =
            [(100_000, 10), (200_000, u32::MAX)].map(|(start, count)| IdRange { start, count });
        assert_eq!(
            map_arguments(1000, &ranges).join(" "),
            "0 1000 1 1 100000 10 11 200000 4294967284"
        );
    }

    #[test]
    fn mapped_ids_are_counted() {
        for (name, map, expected) in [
            ("all", "         0          0 4294967295\n", u32::MAX),
            ("single", "0 1000 1\n", 1),
            ("two ranges", "0 1000 1\n1 100000 65536\n", 65537),
            ("none", "", 0),
        ] {
            assert_eq!(count_mapped(map), expected, "{name}");
        }
    }
}
