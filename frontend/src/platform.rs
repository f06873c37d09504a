//! Reading platforms, with the messages that clients know.

use lamina_types::Platform;

use crate::env::Env;
use crate::quote::quoted;

/// Says why a text is no platform.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the messages quote")]
pub enum PlatformSpecError {
    /// `*`
    #[error("{}: wildcards not yet supported: invalid argument", quoted(.spec))]
    Wildcard { spec: String },
    /// The part before the first slash.
    #[error("{} is an invalid OS component of {}: OSAndVersion specifier component must match {}: invalid argument", quoted(.part), quoted(.spec), quoted(OS_PATTERN))]
    System { part: String, spec: String },
    /// Another part.
    #[error("{} is an invalid component of {}: platform specifier component must match {}: invalid argument", quoted(.part), quoted(.spec), quoted(PART_PATTERN))]
    Part { part: String, spec: String },
    /// A single word that names neither a system nor an architecture.
    #[error("{}: unknown operating system or architecture: invalid argument", quoted(.spec))]
    Unknown { spec: String },
    /// Too many parts.
    #[error("{}: cannot parse platform specifier: invalid argument", quoted(.spec))]
    Parts { spec: String },
}

const OS_PATTERN: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$";
const PART_PATTERN: &str = r"^[A-Za-z0-9_.-]+$";

/// Reads `os[(version)][/architecture[/variant]]`.
///
/// # Errors
/// If it is not of that form.
pub fn parse(spec: &str) -> Result<Platform, PlatformSpecError> {
    let owned = || spec.to_owned();
    if spec.contains('*') {
        return Err(PlatformSpecError::Wildcard { spec: owned() });
    }
    let (first, rest) = spec.split_once('/').unwrap_or((spec, ""));
    let (system, version) = system_and_version(first).ok_or_else(|| PlatformSpecError::System {
        part: first.to_owned(),
        spec: owned(),
    })?;
    let parts: Vec<&str> = spec.split('/').skip(1).collect();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    for part in &parts {
        if part.is_empty() || !part.bytes().all(is_word) {
            return Err(PlatformSpecError::Part {
                part: (*part).to_owned(),
                spec: owned(),
            });
        }
    }
    let text = match parts.len() {
        0 => system.to_owned(),
        1 | 2 => format!("{system}/{rest}"),
        _ => return Err(PlatformSpecError::Parts { spec: owned() }),
    };
    let mut platform: Platform = text
        .parse()
        .map_err(|_| PlatformSpecError::Unknown { spec: owned() })?;
    platform.os_version = version.to_owned();
    Ok(platform)
}

fn system_and_version(part: &str) -> Option<(&str, &str)> {
    let (system, version) = match part.split_once('(') {
        Some((system, rest)) => (system, rest.strip_suffix(')')?),
        None => (part, ""),
    };
    let in_system = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let in_version = |byte: u8| in_system(byte) || matches!(byte, b'.' | b'%');
    let valid =
        !system.is_empty() && system.bytes().all(in_system) && version.bytes().all(in_version);
    valid.then_some((system, version))
}

/// Returns the platform with the system's version, as in `windows(10.0)/amd64`.
#[must_use]
pub fn format_all(platform: &Platform) -> String {
    let plain = platform.to_string();
    if platform.os_version.is_empty() {
        return plain;
    }
    let rest = plain.strip_prefix(&platform.os).unwrap_or_default();
    format!("{}({}){rest}", platform.os, platform.os_version)
}

/// Returns what progress adds for a step on `own` that builds for another platform, as in
/// `->arm64`: the one that the arguments `TARGET*` name, if the step sees them (row DFL-07).
pub(crate) fn crossing(own: &Platform, env: &Env) -> String {
    let Some(target) = target(own, env) else {
        return String::new();
    };
    if target.os != own.os {
        return format!("->{}", format_all(&target));
    }
    if target.architecture == own.architecture {
        return String::new();
    }
    let slash = if target.variant.is_empty() { "" } else { "/" };
    format!("->{}{slash}{}", target.architecture, target.variant)
}

/// Returns the platform of `TARGETPLATFORM`, or else of the arguments for its parts, where `own`
/// stands in for what is not said.
fn target(own: &Platform, env: &Env) -> Option<Platform> {
    if let Some(platform) = env.get("TARGETPLATFORM").and_then(|spec| parse(spec).ok()) {
        return Some(platform);
    }
    let part = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let (os, architecture) = (part("TARGETOS"), part("TARGETARCH"));
    let variant = part("TARGETVARIANT");
    os.or(architecture).or(variant)?;
    let os = os.unwrap_or(&own.os);
    let architecture = architecture.unwrap_or(&own.architecture);
    let variant = variant.map_or_else(String::new, |variant| format!("/{variant}"));
    parse(&format!("{os}/{architecture}{variant}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_for_other_platforms_say_so() {
        for (variables, shown) in [
            (vec![], ""),
            (vec![("TARGETARCH", "amd64")], ""),
            (vec![("TARGETARCH", "arm64")], "->arm64"),
            (
                vec![("TARGETARCH", "arm"), ("TARGETVARIANT", "v6")],
                "->arm/v6",
            ),
            (vec![("TARGETPLATFORM", "windows/amd64")], "->windows/amd64"),
            (vec![("TARGETPLATFORM", "*"), ("TARGETOS", "linux")], ""),
        ] {
            let own = parse("linux/amd64").expect("a platform");
            let env: Env = variables.iter().copied().collect();
            assert_eq!(crossing(&own, &env), shown, "{variables:?}");
        }
    }
}
