//! What a build may ask of the host beyond its sandbox (row CSOL-14).
//!
//! There is one check, [`Entitlements::check`], with [`Entitlements::devices`] for devices by name,
//! and everything that starts a process goes through it. What a message asks for is matched against
//! a list of known values; an unknown one is refused, never taken as harmless.

use std::collections::BTreeMap;
use std::fmt;

use lamina_executor::Catalogue;
use lamina_executor::CdiError;
use lamina_executor::CdiRequest;
use lamina_executor::NetworkMode;
use lamina_executor::SecurityMode;

/// The extras that a build was granted. The default grants none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: steps in the host's network namespace.
    pub network_host: bool,
    /// `security.insecure`: steps without seccomp and with all capabilities.
    pub security_insecure: bool,
    /// `device` and `device=NAME`: devices of the host.
    pub device: GrantedDevices,
}

/// The devices that a build was granted (row EXC-35).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GrantedDevices {
    /// Only those that every build may have.
    #[default]
    AutoAllowed,
    /// These as well: what the build calls a device, and what it is.
    Named(BTreeMap<String, String>),
    /// All.
    All,
}

impl GrantedDevices {
    /// Adds what `config` grants: empty for all, else `NAME` or `NAME,alias=ALIAS`.
    fn add(&mut self, config: &str) -> Result<(), EntitlementError> {
        if config.is_empty() {
            *self = Self::All;
            return Ok(());
        }
        let mut fields = config.split(',');
        let device = fields.next().unwrap_or_default().to_owned();
        let mut called = device.clone();
        for field in fields {
            match field.split_once('=') {
                Some((key, alias)) if key.eq_ignore_ascii_case("alias") => {
                    alias.clone_into(&mut called)
                }
                _ => return Err(EntitlementError::DeviceConfig(field.to_owned())),
            }
        }
        match self {
            Self::All => {}
            Self::Named(names) => drop(names.insert(called, device)),
            Self::AutoAllowed => *self = Self::Named([(called, device)].into()),
        }
        Ok(())
    }
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
    /// What is said of a device makes no sense.
    #[error("invalid device config {0:?}")]
    DeviceConfig(String),
    /// A step asks for devices that the build was not granted.
    #[error("{} requested by the build but not allowed", named(.0))]
    Devices(Vec<String>),
    /// A step asks for a device that is not there.
    #[error(transparent)]
    Device(#[from] CdiError),
}

/// Words the names as BuildKit does.
fn named(devices: &[String]) -> String {
    match devices {
        [device] => format!("device {device} is"),
        devices => format!("devices {} are", devices.join(", ")),
    }
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
                "device" => wanted.device.add("")?,
                other => match other.strip_prefix("device=") {
                    Some(config) => wanted.device.add(config)?,
                    None => return Err(EntitlementError::Unknown(other.to_owned())),
                },
            }
        }
        Ok(wanted)
    }

    /// Refuses if the build wants something that `allowed`, the configuration, does not have.
    ///
    /// # Errors
    /// [`EntitlementError::NotGranted`] with the first extra that is missing.
    pub fn within(self, allowed: &Self) -> Result<Self, EntitlementError> {
        if self.network_host && !allowed.network_host {
            return Err(EntitlementError::NotGranted(Entitlement::NetworkHost));
        }
        if self.security_insecure && !allowed.security_insecure {
            return Err(EntitlementError::NotGranted(Entitlement::SecurityInsecure));
        }
        let devices = match (&self.device, &allowed.device) {
            (GrantedDevices::AutoAllowed, _) | (_, GrantedDevices::All) => true,
            (GrantedDevices::Named(wanted), GrantedDevices::Named(allowed)) => wanted
                .values()
                .all(|device| allowed.values().any(|other| other == device)),
            _ => false,
        };
        if !devices {
            return Err(EntitlementError::NotGranted(Entitlement::Device));
        }
        Ok(self)
    }

    /// Returns the whole names of the devices that a step asks for.
    ///
    /// # Errors
    /// [`EntitlementError::Devices`] with those that were not granted; a device that is not there.
    pub fn devices(
        &self,
        wanted: &[CdiRequest],
        catalogue: &Catalogue,
    ) -> Result<Vec<String>, EntitlementError> {
        let names = match &self.device {
            GrantedDevices::All => return Ok(catalogue.find(wanted)?),
            GrantedDevices::AutoAllowed => &BTreeMap::new(),
            GrantedDevices::Named(names) => names,
        };
        let meant = |request: &CdiRequest| CdiRequest {
            name: names.get(&request.name).unwrap_or(&request.name).clone(),
            optional: request.optional,
        };
        let wanted: Vec<CdiRequest> = wanted.iter().map(meant).collect();
        let grant = |name: &String| CdiRequest {
            name: name.clone(),
            optional: true,
        };
        let granted: Vec<CdiRequest> = names.values().map(grant).collect();
        let (found, granted) = (catalogue.find(&wanted)?, catalogue.find(&granted)?);
        let is_allowed = |name: &String| {
            granted.contains(name) || catalogue.get(name).is_some_and(|device| device.auto_allow)
        };
        let refused: Vec<String> = found
            .iter()
            .filter(|name| !is_allowed(name))
            .cloned()
            .collect();
        match refused.is_empty() {
            true => Ok(found),
            false => Err(EntitlementError::Devices(refused)),
        }
    }

    /// Refuses a process that needs more than was granted: the only such check.
    ///
    /// # Errors
    /// [`EntitlementError::NotGranted`] with the extra that it needs.
    pub fn check(
        &self,
        network: NetworkMode,
        security: SecurityMode,
    ) -> Result<(), EntitlementError> {
        let needed = Self {
            network_host: network == NetworkMode::Host,
            security_insecure: security == SecurityMode::Insecure,
            device: GrantedDevices::AutoAllowed,
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
            (&none, NetworkMode::Sandbox, SecurityMode::Sandbox, true),
            (&none, NetworkMode::None, SecurityMode::Sandbox, true),
            (&none, NetworkMode::Host, SecurityMode::Sandbox, false),
            (&none, NetworkMode::Sandbox, SecurityMode::Insecure, false),
            (&host, NetworkMode::Host, SecurityMode::Sandbox, true),
            (&host, NetworkMode::Host, SecurityMode::Insecure, false),
        ] {
            assert_eq!(granted.check(network, security).is_ok(), fine);
        }
    }

    const DEVICES: &str = r#"{"kind": "v.com/gpu", "devices": [{"name": "0"}, {"name": "1"},
        {"name": "2", "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"}}]}"#;

    /// What a build with these entitlements gets that asks for these devices.
    fn asked(granted: &[&str], wanted: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("d.json"), DEVICES).expect("written");
        let devices = lamina_executor::CdiDevices {
            dirs: vec![folder.path().to_owned()],
            ..Default::default()
        };
        let request = |name: &&str| CdiRequest {
            name: (*name).to_owned(),
            optional: false,
        };
        let wanted: Vec<CdiRequest> = wanted.iter().map(request).collect();
        let granted = Entitlements::parse(granted).map_err(|error| error.to_string())?;
        granted
            .devices(&wanted, &devices.read())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn devices_are_granted_by_name() {
        let (zero, one, two) = ("v.com/gpu=0", "v.com/gpu=1", "v.com/gpu=2");
        for (granted, wanted, expected) in [
            (&["device"][..], &[zero, one][..], Ok(&[zero, one][..])),
            (&[], &[two], Ok(&[two])),
            (
                &[],
                &[zero],
                Err("device v.com/gpu=0 is requested by the build but not allowed"),
            ),
            (
                &[],
                &["v.com/gpu=*"],
                Err("devices v.com/gpu=0, v.com/gpu=1 are requested by the build but not allowed"),
            ),
            (&["device=v.com/gpu=0"], &[zero, two], Ok(&[zero, two])),
            (
                &["device=v.com/gpu=0"],
                &[one],
                Err("device v.com/gpu=1 is requested by the build but not allowed"),
            ),
            (&["device=v.com/gpu=1,alias=mine"], &["mine"], Ok(&[one])),
            (
                &["device=v.com/gpu=1,as=mine"],
                &["mine"],
                Err("invalid device config \"as=mine\""),
            ),
            (
                &["device"],
                &["other"],
                Err("required device \"other\" is not registered"),
            ),
        ] {
            let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
            let expected = expected.map_err(str::to_owned);
            assert_eq!(asked(granted, wanted), expected, "{granted:?} {wanted:?}");
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
            let error = wanted
                .within(&Entitlements::default())
                .expect_err("refused");
            assert_eq!(error.to_string(), format!("{refused} is not allowed"));
        }
    }
}
