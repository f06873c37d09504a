//! Platforms: operating system, architecture and variant, in the image specification's spelling.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// Names what an image or a step runs on, normalised (row LLB-05).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v7`; empty where the architecture needs none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Only for Windows.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Only for Windows.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// Says why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// Not of the form `os[/arch[/variant]]`, or with characters that no platform has.
    #[error("{text:?} is an invalid OS/architecture: expected os[/arch[/variant]]")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// A single word that is neither a known system nor a known architecture.
    #[error("{text:?}: unknown operating system or architecture")]
    Unknown {
        /// What was given.
        text: String,
    },
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "wasm",
];

impl Platform {
    /// Returns the platform with the given parts, normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normalise(&architecture.to_lowercase(), &variant.to_lowercase());
        Self {
            os,
            architecture,
            variant,
            os_version: String::new(),
            os_features: Vec::new(),
        }
    }

    /// Returns the platform that this program runs on.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, "")
    }

    /// Says whether an image for `self` runs where `wanted` is asked for.
    ///
    /// Operating system and architecture must be equal. An arm variant serves a newer one
    /// (`arm/v6` runs on `arm/v7`); elsewhere variants must be equal.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant == wanted.variant
                || self.architecture == "arm"
                    && arm_level(&self.variant) <= arm_level(&wanted.variant))
    }
}

fn arm_level(variant: &str) -> u32 {
    variant.trim_start_matches('v').parse().unwrap_or(7)
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed {
            text: text.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(valid) {
            return Err(malformed());
        }
        match parts[..] {
            [one] => Self::from_word(one),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(malformed()),
        }
    }
}

impl Platform {
    fn from_word(word: &str) -> Result<Self, PlatformError> {
        let host = Self::host();
        let as_system = Self::new(word, &host.architecture, &host.variant);
        let as_architecture = Self::new(&host.os, word, "");
        if word == "local" {
            Ok(host)
        } else if SYSTEMS.contains(&as_system.os.as_str()) {
            Ok(as_system)
        } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
            Ok(as_architecture)
        } else {
            Err(PlatformError::Unknown {
                text: word.to_owned(),
            })
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_normalised() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("Linux/AMD64", "linux/amd64"),
        ] {
            let platform: Platform = text.parse().expect(text);
            assert_eq!(platform.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in ["", "/", "linux/", "a/b/c/d", "li nux", "nosuch"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn arm_images_serve_newer_variants() {
        let v6 = Platform::new("linux", "arm", "v6");
        let v7 = Platform::new("linux", "arm", "v7");
        assert!(v6.satisfies(&v7));
        assert!(!v7.satisfies(&v6));
    }
}
