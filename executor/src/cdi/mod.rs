//! Devices of the host that builds may name: the Container Device Interface (row EXC-35).
//!
//! Vendors describe devices in files of JSON or YAML; what a build says is only a name:
//!
//! ```text
//! /etc/cdi/vendor.yaml              kind: vendor.com/gpu, devices: [{name: "0", containerEdits: ..}]
//! vendor.com/gpu=0                  this device
//! vendor.com/gpu                    the first of the kind
//! vendor.com/gpu=*                  all of the kind
//! gpu                               all whose annotation says that they are of this class
//! ```
//!
//! Of two files that describe one device, the one in the later folder counts; two in one folder make
//! it unusable, since nobody can say which is meant. The folders are read whenever something is
//! asked, so that devices may come and go. Hooks of a description are not run.

mod catalogue;
mod description;

use std::path::PathBuf;

pub use catalogue::Catalogue;

/// A device that is described on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiDevice {
    /// Its whole name, such as `vendor.com/gpu=0`.
    pub name: String,
    /// Whether builds may have it without being granted it.
    pub auto_allow: bool,
    /// Of the file, then of the device.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// What a build asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiRequest {
    /// A name in one of the forms above.
    pub name: String,
    /// Whether it is fine if there is no such device.
    pub optional: bool,
}

/// Why a device cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CdiError {
    /// No file describes it.
    #[error("required device {0:?} is not registered")]
    NotRegistered(String),
    /// Its description asks for something that steps cannot have.
    #[error("device {device}: {what}")]
    Unsupported {
        /// The whole name.
        device: String,
        /// What is asked for.
        what: String,
    },
}

/// Where devices are described, and which of them are allowed without being granted. The default
/// knows none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdiDevices {
    /// Folders with descriptions, the most important last.
    pub dirs: Vec<PathBuf>,
    /// Names and kinds of devices that every build may have.
    pub auto_allowed: Vec<String>,
}

impl CdiDevices {
    /// Returns the folders that vendors' tools write to.
    #[must_use]
    pub fn usual_dirs() -> Vec<PathBuf> {
        ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"]
            .map(PathBuf::from)
            .to_vec()
    }

    /// Reads all descriptions. One that cannot be read or makes no sense is logged and left out.
    #[must_use]
    pub fn read(&self) -> Catalogue {
        Catalogue::read(self)
    }
}
