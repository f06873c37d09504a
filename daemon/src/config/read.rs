//! From the text of a file to a [`Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::Caps;
use super::Cdi;
use super::Config;
use super::ConfigError;
use super::Dns;
use super::Frontends;
use super::Grpc;
use super::History;
use super::Network;
use super::Policy;
use super::Registry;
use super::Worker;
use super::section::Section;
use super::size;
use super::step;
use super::time;

/// Keys at the top that have no effect here (row CFG-13).
const TOP: &[&str] = &["proxyNetwork", "provenanceEnvDir", "otel", "cache"];

/// Keys of `[worker.oci]` that have no effect here: there is one worker, which is our own.
const WORKER: &[&str] = &[
    "enabled",
    "rootless",
    "noProcessSandbox",
    "apparmor-profile",
    "selinux",
    "proxySnapshotterPath",
    "stargzSnapshotter",
    "userRemapUnsupported",
];

/// Values that ask for what is so anyway; they need no warning.
const HARMLESS: &[(&str, bool)] = &[
    ("proxyNetwork", false),
    ("worker.oci.enabled", true),
    ("worker.oci.rootless", true),
    ("worker.oci.rootless", false),
    ("worker.oci.noProcessSandbox", false),
    ("worker.oci.selinux", false),
    ("worker.containerd.enabled", false),
];

/// Collects what is to be warned of.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) unknown: Vec<String>,
    /// With their values.
    without_effect: Vec<(String, Value)>,
}

impl Notes {
    /// Returns the keys that were set in vain.
    fn in_vain(&self) -> Vec<String> {
        let harmless = |key: &str, value: &Value| {
            value
                .as_bool()
                .is_some_and(|value| HARMLESS.contains(&(key, value)))
        };
        let keys = self.without_effect.iter();
        keys.filter(|(key, value)| !harmless(key, value))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// Reads the text of a file.
pub(crate) fn parse(text: &str) -> Result<Config, ConfigError> {
    let mut notes = Notes::default();
    let mut top = Section::root(text.parse()?);
    let mut log = top.section("log")?;
    let mut config = Config {
        root: top.take("root")?,
        debug: top.take("debug")?.unwrap_or_default(),
        trace: top.take("trace")?.unwrap_or_default(),
        log_format: log.take("format")?,
        log_level: log.take("level")?,
        entitlements: top.take("insecure-entitlements")?,
        grpc: grpc(top.section("grpc")?, &mut notes)?,
        worker: workers(top.section("worker")?, &mut notes)?,
        dns: dns(top.section("dns")?, &mut notes)?,
        history: history(top.section("history")?, &mut notes)?,
        step: step::read(top.section("step")?, &mut notes)?,
        registries: registries(top.section("registry")?, &mut notes)?,
        frontends: frontends(top.section("frontend")?, &mut notes)?,
        cdi: cdi(top.section("cdi")?, &mut notes)?,
        platforms_max_age: system(top.section("system")?, &mut notes)?,
        ..Config::default()
    };
    top.without_effect(TOP, &mut notes.without_effect);
    log.finish(&mut notes.unknown);
    top.finish(&mut notes.unknown);
    config.without_effect = notes.in_vain();
    config.unknown = notes.unknown;
    Ok(config)
}

fn grpc(mut section: Section, notes: &mut Notes) -> Result<Grpc, ConfigError> {
    let mut tls = section.section("tls")?;
    let grpc = Grpc {
        address: section.list("address")?,
        uid: section.take("uid")?,
        gid: section.take("gid")?,
        cert: tls.take("cert")?,
        key: tls.take("key")?,
        ca: tls.take("ca")?,
    };
    section.without_effect(
        &["debugAddress", "securityDescriptor"],
        &mut notes.without_effect,
    );
    tls.finish(&mut notes.unknown);
    section.finish(&mut notes.unknown);
    Ok(grpc)
}

fn workers(mut section: Section, notes: &mut Notes) -> Result<Worker, ConfigError> {
    let worker = worker(section.section("oci")?, notes)?;
    section.without_effect(&["containerd"], &mut notes.without_effect);
    section.finish(&mut notes.unknown);
    Ok(worker)
}

fn worker(mut section: Section, notes: &mut Notes) -> Result<Worker, ConfigError> {
    let mut caps = caps(&mut section)?;
    let old = size_of(&mut section, "gckeepstorage")?;
    if caps == Caps::default() {
        caps.reserved_space = old;
    }
    let policies = section.sections("gcpolicy")?;
    let policies = policies.into_iter().map(|section| policy(section, notes));
    let worker = Worker {
        policies: policies.collect::<Result<_, _>>()?,
        platforms: section.list("platforms")?,
        snapshotter: section.take("snapshotter")?,
        labels: section.take("labels")?.unwrap_or_default(),
        max_parallelism: section.take("max-parallelism")?,
        network: network(&mut section)?,
        binary: section.take("binary")?,
        cgroup_parent: section.take("defaultCgroupParent")?,
        gc: section.take("gc")?,
        caps,
    };
    section.without_effect(WORKER, &mut notes.without_effect);
    section.finish(&mut notes.unknown);
    Ok(worker)
}

/// Empty texts say nothing, as for BuildKit.
fn network(section: &mut Section) -> Result<Network, ConfigError> {
    let mut text = |key: &str| -> Result<Option<String>, ConfigError> {
        let text: Option<String> = section.take(key)?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    Ok(Network {
        mode: text("networkMode")?,
        cni_config: text("cniConfigPath")?.map(Into::into),
        cni_plugins: text("cniBinaryPath")?.map(Into::into),
        bridge_name: text("bridgeName")?,
        bridge_subnet: text("bridgeSubnet")?,
        pool_size: section.take("cniPoolSize")?,
    })
}

fn policy(mut section: Section, notes: &mut Notes) -> Result<Policy, ConfigError> {
    let old = size_of(&mut section, "keepBytes")?;
    let mut policy = Policy {
        all: section.take("all")?.unwrap_or_default(),
        filters: section.list("filters")?,
        keep_duration: section
            .take_with("keepDuration", time::read)?
            .unwrap_or_default(),
        caps: caps(&mut section)?,
    };
    if policy.caps.reserved_space.is_unset() {
        policy.caps.reserved_space = old;
    }
    section.finish(&mut notes.unknown);
    Ok(policy)
}

fn caps(section: &mut Section) -> Result<Caps, ConfigError> {
    Ok(Caps {
        reserved_space: size_of(section, "reservedSpace")?,
        max_used_space: size_of(section, "maxUsedSpace")?,
        min_free_space: size_of(section, "minFreeSpace")?,
    })
}

fn size_of(section: &mut Section, key: &str) -> Result<size::Size, ConfigError> {
    Ok(section.take_with(key, size::read)?.unwrap_or_default())
}

fn history(mut section: Section, notes: &mut Notes) -> Result<History, ConfigError> {
    let history = History {
        max_age: section.take_with("maxAge", time::read)?,
        max_entries: section.take("maxEntries")?,
    };
    section.finish(&mut notes.unknown);
    Ok(history)
}

fn system(mut section: Section, notes: &mut Notes) -> Result<Option<Duration>, ConfigError> {
    let max_age = section.take_with("platformsCacheMaxAge", time::read)?;
    section.without_effect(&["maxRegistryConcurrency"], &mut notes.without_effect);
    section.finish(&mut notes.unknown);
    Ok(max_age)
}

fn cdi(mut section: Section, notes: &mut Notes) -> Result<Cdi, ConfigError> {
    let cdi = Cdi {
        disabled: section.take("disabled")?,
        spec_dirs: section.list("specDirs")?,
        auto_allowed: section.list("autoAllowed")?,
    };
    section.finish(&mut notes.unknown);
    Ok(cdi)
}

fn dns(mut section: Section, notes: &mut Notes) -> Result<Dns, ConfigError> {
    let dns = Dns {
        nameservers: section.list("nameservers")?,
        options: section.list("options")?,
        search_domains: section.list("searchDomains")?,
    };
    section.finish(&mut notes.unknown);
    Ok(dns)
}

fn registries(
    section: Section,
    notes: &mut Notes,
) -> Result<BTreeMap<String, Registry>, ConfigError> {
    let hosts = section.named()?.into_iter();
    hosts
        .map(|(host, section)| Ok((host, registry(section, notes)?)))
        .collect()
}

fn registry(mut section: Section, notes: &mut Notes) -> Result<Registry, ConfigError> {
    let mut key_pairs = Vec::new();
    for mut pair in section.sections("keypair")? {
        let mut file = |key: &str| {
            let missing = pair.path_of(key);
            let file: Option<PathBuf> = pair.take(key)?;
            file.ok_or_else(|| ConfigError::Value {
                key: missing,
                reason: "a file is required".to_owned(),
            })
        };
        key_pairs.push((file("cert")?, file("key")?));
        pair.finish(&mut notes.unknown);
    }
    let registry = Registry {
        mirrors: section.list("mirrors")?,
        http: section.take("http")?.unwrap_or_default(),
        insecure: section.take("insecure")?.unwrap_or_default(),
        ca: section.list("ca")?,
        key_pairs,
        tls_folders: section.list("tlsconfigdir")?,
    };
    section.finish(&mut notes.unknown);
    Ok(registry)
}

fn frontends(mut section: Section, notes: &mut Notes) -> Result<Frontends, ConfigError> {
    let mut dockerfile = section.section("dockerfile.v0")?;
    let mut gateway = section.section("gateway.v0")?;
    let frontends = Frontends {
        dockerfile_enabled: dockerfile.take("enabled")?,
        gateway_enabled: gateway.take("enabled")?,
        allowed_repositories: gateway.list("allowedRepositories")?,
    };
    for section in [dockerfile, gateway, section] {
        section.finish(&mut notes.unknown);
    }
    Ok(frontends)
}

#[cfg(test)]
mod tests;
