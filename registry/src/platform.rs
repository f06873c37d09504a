//! Choosing in an index.

use lamina_content::Descriptor;
use lamina_types::Platform;

/// Returns the entry of an index that runs on `wanted`; `None` if there is none.
///
/// An entry for exactly that platform wins, then the newest variant that still runs there, then
/// the first one in the index. Entries that name no platform are the last resort. Attestations
/// (`unknown/unknown`) never match.
#[must_use]
pub fn select_platform<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let fitting = entries.iter().filter_map(|entry| {
        let platform = entry.platform.as_ref().map(normalised);
        rank(platform.as_ref(), wanted).map(|rank| (rank, entry))
    });
    // `min_by` keeps the first of equals.
    let best = fitting.min_by(|(a, _), (b, _)| a.cmp(b));
    best.map(|(_, entry)| entry)
}

/// Indexes are written by many tools, not all of which use the normal spelling.
fn normalised(platform: &Platform) -> Platform {
    Platform {
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        ..Platform::new(&platform.os, &platform.architecture, &platform.variant)
    }
}

/// Smaller is better; variants sort newest first because only older ones satisfy.
fn rank(platform: Option<&Platform>, wanted: &Platform) -> Option<(u8, std::cmp::Reverse<String>)> {
    let class = match platform {
        Some(platform) if !platform.satisfies(wanted) => return None,
        Some(platform) if platform.variant == wanted.variant => 0,
        Some(_) => 1,
        None => 2,
    };
    let variant = platform.map(|platform| platform.variant.clone());
    Some((class, std::cmp::Reverse(variant.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use lamina_types::Digest;

    use super::*;

    fn entry(name: &str, platform: Option<(&str, &str, &str)>) -> Descriptor {
        let platform = platform.map(|(os, architecture, variant)| Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: String::new(),
            os_features: Vec::new(),
        });
        let mut entry = Descriptor::of("", name.as_bytes());
        entry.platform = platform;
        entry
    }

    #[test]
    fn the_best_entry_is_chosen() {
        let entries = [
            entry("attestation", Some(("unknown", "unknown", ""))),
            entry("v5", Some(("linux", "arm", "v5"))),
            entry("v6", Some(("linux", "arm", "v6"))),
            entry("amd64", Some(("linux", "x86_64", ""))),
            entry("amd64 again", Some(("linux", "amd64", ""))),
            entry("arm64", Some(("linux", "arm64", "v8"))),
            entry("windows", Some(("windows", "amd64", ""))),
        ];
        for (wanted, chosen) in [
            ("linux/amd64", Some("amd64")),
            ("linux/arm64", Some("arm64")),
            ("linux/arm/v6", Some("v6")),
            ("linux/arm/v7", Some("v6")),
            ("linux/arm/v5", Some("v5")),
            ("windows/amd64", Some("windows")),
            ("linux/s390x", None),
        ] {
            let found = select_platform(&entries, &wanted.parse().expect(wanted));
            assert_eq!(
                found.map(|entry| entry.digest),
                chosen.map(|name| Digest::of(name.as_bytes())),
                "{wanted}"
            );
        }
    }

    #[test]
    fn an_entry_without_a_platform_is_the_last_resort() {
        let entries = [
            entry("none", None),
            entry("arm64", Some(("linux", "arm64", ""))),
        ];
        let choose = |wanted: &str| {
            let wanted = wanted.parse().expect(wanted);
            select_platform(&entries, &wanted).map(|entry| entry.digest)
        };
        assert_eq!(choose("linux/arm64"), Some(Digest::of(b"arm64")));
        assert_eq!(choose("linux/amd64"), Some(Digest::of(b"none")));
        assert_eq!(
            select_platform(&[], &Platform::host()).map(|e| e.size),
            None
        );
    }
}
