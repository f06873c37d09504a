//! Whether an OCI runtime that the user chose has holes that are known (docs/security.md). Our own
//! sandbox needs no such program.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// What parallel mounts could do to runc: CVE-2025-31133, CVE-2025-52565, CVE-2025-52881. The first of
/// each series without them; later series have none.
const SAFE_RUNC: [(u32, u32, u32); 3] = [(1, 2, 8), (1, 3, 3), (1, 4, 0)];

/// Asks the program for its version, and warns in the log if that is one to be replaced. Returns at
/// once.
pub(crate) fn check(program: &Path) {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    let name = program.display().to_string();
    std::thread::spawn(move || match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            if let Some(version) = affected(&text) {
                tracing::warn!(
                    "{name}: runc {version} lets steps reach the host (CVE-2025-31133, CVE-2025-52565, \
                     CVE-2025-52881); 1.2.8, 1.3.3 and later do not"
                );
            }
        }
        Err(error) => tracing::warn!("{name} --version: {error}"),
    });
}

/// Returns the version of a runc that is affected, from what it says of itself.
fn affected(text: &str) -> Option<&str> {
    let version = text.lines().next()?.strip_prefix("runc version ")?.trim();
    let (release, candidate) = match version.split_once('-') {
        Some((release, rest)) => (release, rest.starts_with("rc")),
        None => (version.split('+').next()?, false),
    };
    let mut numbers = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next()?, numbers.next()?, numbers.next()?);
    let series = |one: (u32, u32, u32)| (one.0, one.1);
    let safe = SAFE_RUNC
        .iter()
        .find(|first| series(**first) == series(found));
    let is_safe = match safe {
        // A candidate comes before its release, and may come before the mend.
        Some(first) => found > *first || (found == *first && !candidate),
        None => series(found) > series(SAFE_RUNC[SAFE_RUNC.len() - 1]),
    };
    (!is_safe).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, and CVE-2024-21626 before them.
    #[test]
    fn versions_with_holes_are_told() {
        for (text, expected) in [
            ("runc version 1.1.5+ds1\ncommit: x\n", Some("1.1.5+ds1")),
            ("runc version 1.1.15", Some("1.1.15")),
            ("runc version 1.2.7", Some("1.2.7")),
            ("runc version 1.2.8", None),
            ("runc version 1.3.2", Some("1.3.2")),
            ("runc version 1.3.3\n", None),
            ("runc version 1.3.10", None),
            ("runc version 1.4.0-rc.2", Some("1.4.0-rc.2")),
            ("runc version 1.4.0", None),
            ("runc version 1.5.1", None),
            ("runc version 2.0.0", None),
            ("crun version 1.8.1", None),
            ("", None),
            ("runc version x", None),
        ] {
            assert_eq!(affected(text), expected, "{text}");
        }
    }
}
