//! What a build may ask of the host beyond its sandbox (row CSOL-14).
//!
//! There is one check, [`Entitlements::check`], and everything that starts a process goes through
//! it. What a message asks for is matched against a list of known values; an unknown one is
//! refused, never taken as harmless.

use std::fmt;

use lamina_executor::NetworkMode;
use lamina_executor::SecurityMode;

/// The extras that a build was granted. The default grants none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: steps in the host's network namespace.
    pub network_host: bool,
    /// `security.insecure`: steps without seccomp and with all capabilities.
    pub security_insecure: bool,
    /// `device`: devices of the host. No configuration grants them: steps cannot have them yet.
    pub device: bool,
}

/// Names one extra in messages and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// See [`Entitlements::network_host`].
    NetworkHost,
    /// See [`Entitlements::security_insecure`].
    SecurityInsecure,
    /// See [`Entitlements::device`].
    Device,
}

/// Something was asked for that is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntitlementError {
    /// A step needs what the build was not granted.
    #[error("{0} is not allowed")]
    NotGranted(Entitlement),
    /// The client asks for an extra that nobody knows.
    #[error("unknown entitlement {0:?}")]
    Unknown(String),
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
            Self::Device => "device",
        })
    }
}

impl Entitlements {
    /// Parses the names that a client asks for.
    ///
    /// # Errors
    /// [`EntitlementError::Unknown`] for any other name.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, EntitlementError> {
        let mut wanted = Self::default();
        for name in names {
            match name.as_ref() {
                "network.host" => wanted.network_host = true,
                "security.insecure" => wanted.security_insecure = true,
                "device" => wanted.device = true,
                // Which one, and under what name.
                one if one.starts_with("device=") => wanted.device = true,
                other => return Err(EntitlementError::Unknown(other.to_owned())),
            }
        }
        Ok(wanted)
    }

    /// Refuses if the build wants something that `allowed`, the configuration, does not have.
    ///
    /// # Errors
    /// [`EntitlementError::NotGranted`] with the first extra that is missing.
    pub fn within(self, allowed: Self) -> Result<Self, EntitlementError> {
        if self.network_host && !allowed.network_host {
            return Err(EntitlementError::NotGranted(Entitlement::NetworkHost));
        }
        if self.security_insecure && !allowed.security_insecure {
            return Err(EntitlementError::NotGranted(Entitlement::SecurityInsecure));
        }
        if self.device && !allowed.device {
            return Err(EntitlementError::NotGranted(Entitlement::Device));
        }
        Ok(self)
    }

    /// Refuses a process that needs more than was granted: the only such check.
    ///
    /// # Errors
    /// [`EntitlementError::NotGranted`] with the extra that it needs.
    pub fn check(
        self,
        network: NetworkMode,
        security: SecurityMode,
    ) -> Result<(), EntitlementError> {
        let needed = Self {
            network_host: network == NetworkMode::Host,
            security_insecure: security == SecurityMode::Insecure,
            device: false,
        };
        needed.within(self).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_passes() {
        let none = Entitlements::default();
        let host = Entitlements::parse(&["network.host"]).expect("known");
        for (granted, network, security, fine) in [
            (none, NetworkMode::Sandbox, SecurityMode::Sandbox, true),
            (none, NetworkMode::None, SecurityMode::Sandbox, true),
            (none, NetworkMode::Host, SecurityMode::Sandbox, false),
            (none, NetworkMode::Sandbox, SecurityMode::Insecure, false),
            (host, NetworkMode::Host, SecurityMode::Sandbox, true),
            (host, NetworkMode::Host, SecurityMode::Insecure, false),
        ] {
            assert_eq!(granted.check(network, security).is_ok(), fine);
        }
    }

    #[test]
    fn unknown_names_and_more_than_configured_are_refused() {
        let error = Entitlements::parse(&["devices"]).expect_err("unknown");
        assert_eq!(error.to_string(), "unknown entitlement \"devices\"");
        for (wanted, refused) in [
            ("security.insecure", "security.insecure"),
            ("device", "device"),
            ("device=vendor.com/gpu=0,alias=a", "device"),
        ] {
            let wanted = Entitlements::parse(&[wanted]).expect("known");
            let error = wanted.within(Entitlements::default()).expect_err("refused");
            assert_eq!(error.to_string(), format!("{refused} is not allowed"));
        }
    }
}
