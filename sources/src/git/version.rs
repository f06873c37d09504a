//! Which git will do.

use super::GitError;
use super::program::CallError;
use super::program::Git;

/// The oldest version that takes its whole configuration from the environment.
const OLDEST: (u32, u32) = (2, 31);
const OLDEST_TEXT: &str = "2.31";

/// Returns an error unless git is there and new enough.
///
/// # Errors
/// [`GitError::Missing`], [`GitError::TooOld`].
pub(super) async fn check(git: &Git) -> Result<(), CallError> {
    let printed = git.call(["version"]).run().await?;
    let found = String::from_utf8_lossy(&printed);
    Ok(judge(&found)?)
}

/// Judges what `git version` prints.
///
/// # Errors
/// [`GitError::TooOld`].
pub fn judge(printed: &str) -> Result<(), GitError> {
    let found = printed.trim().trim_start_matches("git version ");
    let mut numbers = found
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        return Ok(());
    }
    Err(GitError::TooOld {
        found: found.to_owned(),
        needed: OLDEST_TEXT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (printed, will_do) in [
            ("git version 2.47.3\n", true),
            ("git version 2.31.0", true),
            ("git version 2.39.5 (Apple Git-154)", true),
            ("git version 3.0", true),
            ("git version 2.30.2", false),
            ("git version 2.9.5", false),
            ("nonsense", false),
        ] {
            assert_eq!(judge(printed).is_ok(), will_do, "{printed}");
        }
    }
}
