//! What to do about errors that do not say it themselves: their words are those that clients of
//! BuildKit know.

/// Entitlements that `--allow` takes.
const ENTITLEMENTS: [&str; 2] = ["network.host", "security.insecure"];

/// Returns what the user can do about an error, if that is known.
pub(super) fn hint(message: &str) -> Option<String> {
    entitlement(message)
        .or_else(|| secret(message))
        .or_else(|| fixed(message).map(str::to_owned))
}

fn entitlement(message: &str) -> Option<String> {
    let refused = message.strip_suffix(" is not allowed")?;
    let name = ENTITLEMENTS.iter().find(|name| refused.ends_with(*name))?;
    Some(format!(
        "--allow {name} grants it, if the daemon lets it (--allow-insecure-entitlement {name})"
    ))
}

fn secret(message: &str) -> Option<String> {
    let (_, id) = message
        .strip_suffix(": not found")?
        .rsplit_once("secret ")?;
    Some(format!("--secret id={id},src=FILE gives it"))
}

fn fixed(message: &str) -> Option<&'static str> {
    if message.contains("failed to read dockerfile: open ") {
        Some("--file names another Dockerfile")
    } else if message.ends_with(" forwarded from the client") {
        Some("--ssh forwards agents and keys")
    } else if message.starts_with("unsupported request frontend.") {
        Some("--call takes check, outline, targets and describe")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_do_not_say_what_to_do() {
        for (message, wanted) in [
            (
                "failed to load LLB: security.insecure is not allowed",
                "--allow security.insecure grants it",
            ),
            ("network.host is not allowed", "--allow network.host"),
            ("secret token: not found", "--secret id=token,src=FILE"),
            (
                "failed to read dockerfile: open /Dockerfile: no such file or directory",
                "--file",
            ),
            (
                "no SSH key \"default\" forwarded from the client",
                "--ssh forwards",
            ),
            (
                "unsupported request frontend.chek",
                "--call takes check, outline",
            ),
        ] {
            let hint = hint(message).expect(message);
            assert!(hint.starts_with(wanted), "{message}: {hint}");
        }
        for message in ["", "device is not allowed", "\"/x\": not found", "it broke"] {
            assert_eq!(hint(message), None, "{message}");
        }
    }
}
