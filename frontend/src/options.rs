//! What the client asks for: the frontend's options (rows FDF-01 to FDF-48).

mod error;
mod limits;

pub use error::OptionsError;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lamina_llb::CacheOption;
use lamina_proto::pb;
use lamina_types::Platform;
use serde::Deserialize;

use crate::instructions::csv_fields;
use crate::instructions::parse_bool;
use crate::lint::LintOptions;
use crate::platform;

/// Options by name, as the client gave them.
pub type OptionMap = BTreeMap<String, String>;

/// The options, read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Options {
    /// `build-arg:*`
    pub build_args: OptionMap,
    /// `label:*`
    pub labels: OptionMap,
    /// `target`; empty for the last stage.
    pub target: String,
    /// `platform`
    pub platforms: Vec<Platform>,
    /// The result is a map by platform.
    pub multi_platform: bool,
    /// `no-cache`: the stages, none in the list for all.
    pub no_cache: Option<Vec<String>>,
    /// `image-resolve-mode`: `default`, `pull` or `local`.
    pub resolve_mode: String,
    /// `force-network-mode`
    pub network: pb::NetMode,
    /// `add-hosts`
    pub extra_hosts: Vec<pb::HostIp>,
    /// `hostname`
    pub hostname: String,
    /// `shm-size`, in bytes; 0 for the default.
    pub shm_size: i64,
    /// `ulimit`
    pub ulimits: Vec<pb::Ulimit>,
    /// `memory`, `cpuquota` and the like.
    pub resources: Option<pb::LinuxResources>,
    /// `cgroup-parent`
    pub cgroup_parent: String,
    /// `build-arg:BUILDKIT_CACHE_MOUNT_NS`
    pub cache_namespace: String,
    /// `cache-from`: registry caches in the old form. Those of `cache-imports` the engine takes from the
    /// client itself.
    pub cache_from: Vec<CacheOption>,
    /// `build-arg:BUILDKIT_DOCKERFILE_CHECK`, which replaces the directive of the file.
    pub check: Option<LintOptions>,
}

impl Options {
    /// Reads the options; unknown ones are ignored (row FDF-45).
    ///
    /// # Errors
    /// For values that make no sense, and for what is no longer supported.
    pub fn parse(given: &OptionMap) -> Result<Self, OptionsError> {
        refuse_removed(given)?;
        let text = |key: &str| given.get(key).map_or("", String::as_str);
        let platforms = platforms(text("platform"))?;
        let resolve_mode = resolve_mode(text("image-resolve-mode"))?;
        let extra_hosts = extra_hosts(text("add-hosts"))?;
        let shm_size = limits::shm_size(text("shm-size"))?;
        let ulimits = limits::ulimits(text("ulimit"))?;
        let resources = limits::resources(given)?;
        let network = network(text("force-network-mode"))?;
        let multi_platform = multi_platform(given, platforms.len() > 1)?;
        cache_imports(text("cache-imports"))?;
        let check = check(given)?;
        Ok(Self {
            build_args: with_prefix(given, "build-arg:"),
            labels: with_prefix(given, "label:"),
            target: text("target").to_owned(),
            no_cache: given.get("no-cache").map(|stages| no_cache(stages)),
            hostname: first_set(
                text("build-arg:BUILDKIT_SANDBOX_HOSTNAME"),
                text("hostname"),
            ),
            cgroup_parent: text("cgroup-parent").to_owned(),
            cache_namespace: text("build-arg:BUILDKIT_CACHE_MOUNT_NS").to_owned(),
            cache_from: cache_from(text("cache-from")),
            platforms,
            multi_platform,
            resolve_mode,
            network,
            extra_hosts,
            shm_size,
            ulimits,
            resources,
            check,
        })
    }

    /// Says whether the stage called `name` passes the cache by.
    #[must_use]
    pub fn ignores_cache(&self, name: &str) -> bool {
        self.no_cache.as_ref().is_some_and(|stages| {
            stages.is_empty() || stages.iter().any(|stage| stage.eq_ignore_ascii_case(name))
        })
    }
}

fn refuse_removed(given: &OptionMap) -> Result<(), OptionsError> {
    if given
        .get("override-copy-image")
        .is_some_and(|image| !image.is_empty())
    {
        return Err(OptionsError::OverrideCopyImage);
    }
    let disabled = given.get("build-arg:BUILDKIT_DISABLE_FILEOP");
    if disabled.and_then(|value| parse_bool(value)) == Some(true) {
        return Err(OptionsError::DisableFileOp);
    }
    Ok(())
}

fn with_prefix(given: &OptionMap, prefix: &str) -> OptionMap {
    let strip = |(key, value): (&String, &String)| {
        key.strip_prefix(prefix)
            .map(|key| (key.to_owned(), value.clone()))
    };
    given.iter().filter_map(strip).collect()
}

fn first_set(first: &str, second: &str) -> String {
    if first.is_empty() {
        second.to_owned()
    } else {
        first.to_owned()
    }
}

fn no_cache(stages: &str) -> Vec<String> {
    if stages.is_empty() {
        return Vec::new();
    }
    stages.split(',').map(str::to_owned).collect()
}

fn platforms(text: &str) -> Result<Vec<Platform>, OptionsError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parse = |spec: &str| {
        platform::parse(spec).map_err(|source| OptionsError::Platform {
            spec: spec.to_owned(),
            source,
        })
    };
    text.split(',').map(parse).collect()
}

fn resolve_mode(text: &str) -> Result<String, OptionsError> {
    match text {
        "" => Ok("default".to_owned()),
        "default" | "pull" | "local" => Ok(text.to_owned()),
        _ => Err(OptionsError::ResolveMode {
            mode: text.to_owned(),
        }),
    }
}

fn network(text: &str) -> Result<pb::NetMode, OptionsError> {
    match text {
        "" | "sandbox" => Ok(pb::NetMode::Unset),
        "none" => Ok(pb::NetMode::None),
        "host" => Ok(pb::NetMode::Host),
        _ => Err(OptionsError::Network {
            mode: text.to_owned(),
        }),
    }
}

fn extra_hosts(text: &str) -> Result<Vec<pb::HostIp>, OptionsError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let fields = csv_fields(text).map_err(OptionsError::HostFields)?;
    fields.into_iter().map(extra_host).collect()
}

fn extra_host(field: String) -> Result<pb::HostIp, OptionsError> {
    let lower = field.to_lowercase();
    let Some((host, ip)) = lower.split_once('=') else {
        return Err(OptionsError::HostPair { field });
    };
    let address: IpAddr = ip.parse().map_err(|_| OptionsError::HostAddress {
        address: ip.to_owned(),
    })?;
    Ok(pb::HostIp {
        host: host.to_owned(),
        ip: address.to_string(),
    })
}

fn multi_platform(given: &OptionMap, several: bool) -> Result<bool, OptionsError> {
    let value = ["build-arg:BUILDKIT_MULTI_PLATFORM", "multi-platform"]
        .iter()
        .filter_map(|key| given.get(*key))
        .find(|value| !value.is_empty());
    let Some(value) = value else {
        return Ok(several);
    };
    match parse_bool(value) {
        Some(false) if several => Err(OptionsError::SeveralPlatforms),
        Some(wanted) => Ok(wanted),
        None => Err(OptionsError::MultiPlatform {
            value: value.clone(),
        }),
    }
}

/// Checks the form only: imports are the business of the engine, which sees the same option.
fn cache_imports(text: &str) -> Result<(), OptionsError> {
    #[derive(Deserialize)]
    struct Import {
        #[serde(rename = "Type", default)]
        _kind: String,
        #[serde(rename = "Attrs", default)]
        _attrs: Option<OptionMap>,
    }
    if text.is_empty() {
        return Ok(());
    }
    match serde_json::from_str::<Vec<Import>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(OptionsError::CacheImports {
            text: text.to_owned(),
            reason: json_reason(text, &error),
        }),
    }
}

/// Reads references with commas between them (row FDF-21).
fn cache_from(text: &str) -> Vec<CacheOption> {
    let references = text.split(',').filter(|reference| !reference.is_empty());
    let import = |reference: &str| CacheOption {
        kind: "registry".to_owned(),
        attrs: [("ref".to_owned(), reference.to_owned())].into(),
    };
    references.map(import).collect()
}

/// Says in the words that clients know why a text is not JSON.
fn json_reason(text: &str, error: &serde_json::Error) -> String {
    match text.trim_start().chars().next() {
        Some(first) if !"[{\"-0123456789tfn".contains(first) => {
            format!("invalid character '{first}' looking for beginning of value")
        }
        _ => error.to_string(),
    }
}

fn check(given: &OptionMap) -> Result<Option<LintOptions>, OptionsError> {
    let Some(text) = given.get("build-arg:BUILDKIT_DOCKERFILE_CHECK") else {
        return Ok(None);
    };
    LintOptions::parse(text)
        .map(Some)
        .map_err(OptionsError::Check)
}

#[cfg(test)]
mod tests;
