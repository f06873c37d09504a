//! What the daemon does: flags over the file over what is usual.

mod address;
mod collection;
mod devices;
mod network;
mod owner;
mod registries;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use lamina_engine::GcOptions;
use lamina_engine::HistoryOptions;
use lamina_engine::SnapshotterKind;
use lamina_executor::CdiDevices;
use lamina_executor::DnsConfig;
use lamina_executor::userns::IdMapping;
use lamina_llb::Entitlements;
use lamina_registry::RegistryConfig;
use lamina_types::IoContext as _;
use lamina_types::PathError;
use lamina_types::Platform;

pub(crate) use address::Address;
pub(crate) use network::NetworkWishes;
pub(crate) use owner::SocketOwner;

use crate::config;
use crate::config::Config;
use crate::error::DaemonError;
use crate::flags::DaemonArgs;
use crate::log::LogFormat;
use crate::log::LogLevel;
use crate::places;

/// A flag or key has a value that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    #[error("address {address:?}: {reason}")]
    Address {
        address: String,
        reason: &'static str,
    },
    #[error("group {group:?}: {reason}")]
    Group { group: String, reason: String },
    #[error("invalid entitlement : {0}")]
    Entitlement(String),
    #[error("invalid platforms: {0}")]
    Platform(#[from] lamina_types::PlatformError),
    #[error("invalid worker label {0:?}: expected KEY=VALUE")]
    Label(String),
    #[error("unknown snapshotter name: {0:?}")]
    Snapshotter(String),
    #[error(transparent)]
    NetworkMode(#[from] lamina_network::UnknownMode),
    #[error("bridgeSubnet: {0}")]
    BridgeSubnet(#[from] lamina_network::SubnetError),
    #[error("bad nameserver address {0:?}")]
    Nameserver(String),
    #[error("failed to parse storage {0:?}: expected RESERVED[,FREE[,MAXIMUM]] in MB")]
    Storage(String),
    #[error("unsupported log type {0:?}")]
    LogFormat(String),
    #[error("unsupported log level {0:?}")]
    LogLevel(String),
    #[error("tls needs a certificate and its key: {0} is missing")]
    HalfTls(&'static str),
    #[error(transparent)]
    Io(#[from] PathError),
}

/// Everything that was decided.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) addresses: Vec<Address>,
    pub(crate) socket_owner: SocketOwner,
    pub(crate) tls: Option<Tls>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LogLevel,
    pub(crate) entitlements: Entitlements,
    pub(crate) worker: WorkerSettings,
    pub(crate) gc: GcOptions,
    pub(crate) history: HistoryOptions,
    pub(crate) step: config::Step,
    pub(crate) registries: RegistryConfig,
    pub(crate) frontends: config::Frontends,
    pub(crate) platforms_max_age: Option<Duration>,
    pub(crate) dns: DnsConfig,
    pub(crate) devices: CdiDevices,
    /// What the log warns of, once there is one.
    pub(crate) notes: Vec<String>,
}

/// Files for tcp addresses (row FLG-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// If given, clients must show a certificate of this authority.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What runs the steps.
#[derive(Debug, Default)]
pub(crate) struct WorkerSettings {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) network: NetworkWishes,
    pub(crate) snapshotter: SnapshotterKind,
    /// Empty = what is found.
    pub(crate) platforms: Vec<Platform>,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) max_parallelism: usize,
    pub(crate) cgroup_parent: String,
}

impl Settings {
    /// Reads the file that the flags name, or the usual one, and puts the flags over it.
    pub(crate) fn load(args: DaemonArgs, ids: &IdMapping) -> Result<Self, DaemonError> {
        let named = args.main.config.clone();
        let path = named.clone().unwrap_or_else(places::default_config);
        let config = config::load(&path)?;
        let missing = config.is_none() && named.is_some();
        let mut settings = Self::merge(args, config.unwrap_or_default(), ids)?;
        if missing {
            let note = format!("{}: there is no such configuration file", path.display());
            settings.notes.push(note);
        }
        Ok(settings)
    }

    /// Puts flags over a file.
    fn merge(args: DaemonArgs, config: Config, ids: &IdMapping) -> Result<Self, SettingsError> {
        let mut notes = notes(&args, &config);
        let main = args.main;
        let root = main
            .root
            .or(config.root)
            .unwrap_or_else(|| places::default_root(ids));
        let root = std::path::absolute(&root).at(root.display())?;
        let level = main.log_level.or(config.log_level);
        let debug = main.debug.unwrap_or(config.debug);
        let trace = main.trace.unwrap_or(config.trace);
        let gc = collection::options(&args.worker, &config.worker, disk_size(&root))?;
        let devices = devices::merge(main.cdi_disabled, main.cdi_spec_dir, config.cdi);
        let granted = match main.allow_insecure_entitlement.is_empty() {
            true => config.entitlements.unwrap_or_default(),
            false => main.allow_insecure_entitlement,
        };
        Ok(Self {
            addresses: addresses(main.addr, &config.grpc.address)?,
            socket_owner: SocketOwner::find(main.group.as_deref(), &config.grpc)?,
            tls: tls(
                main.tlscert.or(config.grpc.cert),
                main.tlskey.or(config.grpc.key),
                main.tlscacert.or(config.grpc.ca),
            )?,
            log_format: LogFormat::parse(main.log_format.or(config.log_format).as_deref())?,
            log_level: LogLevel::parse(level.as_deref(), debug, trace)?,
            entitlements: entitlements(granted, &devices)?,
            gc,
            history: history(&config.history),
            step: config.step,
            registries: registries::convert(config.registries, &mut notes)?,
            worker: WorkerSettings::merge(args.worker, config.worker, &mut notes)?,
            frontends: config.frontends,
            platforms_max_age: config.platforms_max_age,
            dns: network::dns(config.dns)?,
            devices,
            run_dir: places::run_dir(ids),
            root,
            notes,
        })
    }
}

/// Says what was asked for in vain.
fn notes(args: &DaemonArgs, config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if !args.ignored.0.is_empty() {
        notes.push(format!(
            "flags without effect here: {}",
            args.ignored.0.join(" ")
        ));
    }
    if !config.without_effect.is_empty() {
        let keys = config.without_effect.join(", ");
        notes.push(format!("configuration keys without effect here: {keys}"));
    }
    if !config.unknown.is_empty() {
        notes.push(format!(
            "unknown configuration keys: {}",
            config.unknown.join(", ")
        ));
    }
    notes
}

fn addresses(flags: Vec<String>, file: &[String]) -> Result<Vec<Address>, SettingsError> {
    let given = if flags.is_empty() {
        file.to_owned()
    } else {
        flags
    };
    if given.is_empty() {
        return Ok(vec![Address::Unix(places::default_socket())]);
    }
    given.iter().map(|text| Address::parse(text)).collect()
}

fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<Tls>, SettingsError> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls {
            certificate,
            key,
            client_ca,
        })),
        (None, None) if client_ca.is_none() => Ok(None),
        (None, _) => Err(SettingsError::HalfTls("the certificate")),
        (_, None) => Err(SettingsError::HalfTls("the key")),
    }
}

/// Row FLG-08: any other name is an error.
fn entitlements(
    mut names: Vec<String>,
    devices: &CdiDevices,
) -> Result<Entitlements, SettingsError> {
    names.extend(devices::entitlement(devices));
    Entitlements::parse(&names).map_err(|error| match error {
        lamina_llb::EntitlementError::Unknown(name) => SettingsError::Entitlement(name),
        other => SettingsError::Entitlement(other.to_string()),
    })
}

fn history(config: &config::History) -> HistoryOptions {
    let usual = HistoryOptions::default();
    HistoryOptions {
        max_age: config.max_age.unwrap_or(usual.max_age),
        max_entries: config.max_entries.unwrap_or(usual.max_entries),
    }
}

/// Returns the size of the disk that will hold `root`; 0 if unknown.
fn disk_size(root: &Path) -> u64 {
    let stats = root
        .ancestors()
        .find_map(|path| rustix::fs::statvfs(path).ok());
    stats.map_or(0, |stats| stats.f_blocks.saturating_mul(stats.f_frsize))
}

impl WorkerSettings {
    fn merge(
        flags: crate::flags::WorkerFlags,
        config: config::Worker,
        notes: &mut Vec<String>,
    ) -> Result<Self, SettingsError> {
        let mut labels = config.labels;
        for label in flags.oci_worker_labels {
            let (key, value) = label
                .split_once('=')
                .ok_or_else(|| SettingsError::Label(label.clone()))?;
            labels.insert(key.to_owned(), value.to_owned());
        }
        let platforms = match flags.oci_worker_platform.is_empty() {
            true => config.platforms,
            false => flags.oci_worker_platform,
        };
        let wishes = config::Network {
            mode: flags.oci_worker_net.or(config.network.mode),
            cni_config: flags.oci_cni_config_path.or(config.network.cni_config),
            cni_plugins: flags.oci_cni_binary_dir.or(config.network.cni_plugins),
            pool_size: flags.oci_cni_pool_size.or(config.network.pool_size),
            ..config.network
        };
        let snapshotter = flags.oci_worker_snapshotter.or(config.snapshotter);
        Ok(Self {
            labels,
            network: NetworkWishes::read(wishes)?,
            snapshotter: snapshotter_kind(snapshotter.as_deref(), notes)?,
            platforms: platforms
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?,
            binary: flags.oci_worker_binary.or(config.binary),
            cgroup_parent: config.cgroup_parent.unwrap_or_default(),
            max_parallelism: flags
                .oci_max_parallelism
                .or(config.max_parallelism)
                .unwrap_or_default(),
        })
    }
}

/// Names are BuildKit's, and ours for the same things. One of its snapshotters that there is not here
/// means the one that works, with a warning, so that a daemon that replaces another starts.
fn snapshotter_kind(
    name: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<SnapshotterKind, SettingsError> {
    match name {
        None | Some("" | "auto") => Ok(SnapshotterKind::Auto),
        Some("overlay" | "overlayfs") => Ok(SnapshotterKind::Overlay),
        Some("fuse" | "fuse-overlayfs") => Ok(SnapshotterKind::Fuse),
        Some("copy" | "native") => Ok(SnapshotterKind::Copy),
        Some(name @ "stargz") => {
            notes.push(format!(
                "there is no snapshotter {name:?} here; using what works"
            ));
            Ok(SnapshotterKind::Auto)
        }
        Some(other) => Err(SettingsError::Snapshotter(other.to_owned())),
    }
}
