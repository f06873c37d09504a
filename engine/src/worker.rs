//! What the engine says of itself (rows CTL-02 to CTL-05).

use std::collections::BTreeMap;

use lamina_executor::CdiDevice;
use lamina_llb::WorkerInfo;
use lamina_network::Networks;
use lamina_proto::pb;
use lamina_proto::worker;
use lamina_snapshotter::Chosen;

use crate::Engine;
use crate::EngineOptions;
use crate::UsageError;
use crate::Version;
use crate::filter::Fields;
use crate::filter::Filters;
use crate::mounts;
use crate::usage::policy_message;

/// What the names of labels that clients know begin with.
const PREFIX: &str = "org.mobyproject.buildkit.worker.";
/// Why the snapshotter is the one that it is.
const REASON: &str = "lamina.snapshotter.reason";
/// What the network of steps is.
const NETWORK: &str = "lamina.network";

impl Engine {
    /// Returns what steps run on (rows CTL-03 to CTL-05), if the filters let it through (CTL-02).
    ///
    /// # Errors
    /// [`UsageError::Filter`].
    pub fn workers(&self, filters: &[String]) -> Result<Vec<worker::WorkerRecord>, UsageError> {
        let filters = Filters::parse(filters)?;
        let info = &self.0.services.worker;
        if !filters.match_fields(&Worker(info)) {
            return Ok(Vec::new());
        }
        let platforms = (self.0.services.platforms)();
        Ok(vec![worker::WorkerRecord {
            id: info.id.clone(),
            labels: info.labels.clone(),
            platforms: platforms.iter().map(pb::Platform::from).collect(),
            gc_policy: self.0.usage.policies().iter().map(policy_message).collect(),
            buildkit_version: Some(version(&self.0.version)),
            cdi_devices: self.devices(),
        }])
    }

    /// Describes the host's devices (row CTL-03).
    fn devices(&self) -> Vec<worker::CdiDevice> {
        let described = self.0.services.devices.read();
        let device = |device: &CdiDevice| worker::CdiDevice {
            name: device.name.clone(),
            auto_allow: device.auto_allow,
            annotations: device.annotations.clone().into_iter().collect(),
            on_demand: false,
        };
        described.list().map(device).collect()
    }

    /// Returns what the engine says it is (row CTL-01).
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.0.version
    }
}

/// Describes the worker. Labels that the user gives win.
pub(crate) fn describe(
    id: String,
    options: &EngineOptions,
    mounts: &Chosen,
    networks: &Networks,
) -> WorkerInfo {
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    let own = [
        ("executor", "oci".to_owned()),
        ("hostname", hostname()),
        ("network", networks.label().to_owned()),
        ("oci.process-mode", "sandbox".to_owned()),
        ("selinux.enabled", selinux.to_string()),
        ("snapshotter", mounts::label(mounts.backend).to_owned()),
    ];
    let mut labels: BTreeMap<String, String> = own
        .into_iter()
        .map(|(name, value)| (format!("{PREFIX}{name}"), value))
        .collect();
    labels.insert(REASON.to_owned(), mounts.reason());
    labels.insert(NETWORK.to_owned(), networks.description().to_owned());
    labels.extend(options.labels.clone());
    WorkerInfo { id, labels }
}

fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_owned();
    name.to_string_lossy().into_owned()
}

fn version(version: &Version) -> worker::BuildkitVersion {
    worker::BuildkitVersion {
        package: version.package.clone(),
        version: version.version.clone(),
        revision: version.revision.clone(),
        dockerfile_version: version.dockerfile.clone(),
    }
}

struct Worker<'a>(&'a WorkerInfo);

impl Fields for Worker<'_> {
    fn field(&self, path: &[String]) -> Option<String> {
        match path.split_first()? {
            (field, []) if field == "id" => Some(self.0.id.clone()),
            (field, label) if field == "labels" => self.0.labels.get(&label.join(".")).cloned(),
            _ => None,
        }
    }
}
