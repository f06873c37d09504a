//! Exec ops (section 6.2): a process and what it sees.

use std::net::IpAddr;

use lamina_executor::CdiRequest;
use lamina_executor::NetworkMode;
use lamina_executor::Resources;
use lamina_executor::SecurityMode;
use lamina_executor::Ulimit;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;

use super::InputUse;
use super::Operand;
use super::SpecError;
use super::exec_key;
use super::mount::Mount;
use super::mount::MountType;

/// A process to run.
#[derive(Debug)]
pub(crate) struct ExecStep {
    pub(crate) args: Vec<String>,
    /// As given, then the proxy variables, then a default PATH (rows EXC-02, EXC-05).
    pub(crate) env: Vec<String>,
    pub(crate) secret_env: Vec<SecretEnv>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) extra_hosts: Vec<(String, IpAddr)>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) cgroup_parent: String,
    /// What of the host's devices it asks for, and what it gets, by whole names.
    pub(crate) wanted_devices: Vec<CdiRequest>,
    pub(crate) devices: Vec<String>,
    /// Limits, which are metadata of the op: no part of its digest or key.
    pub(crate) resources: Resources,
    /// What the programs are for.
    pub(crate) platform: Platform,
    pub(crate) remove_mount_stubs_recursive: bool,
    /// Exactly these codes are success; empty = only 0 (row EXC-11).
    pub(crate) valid_exit_codes: Vec<i32>,
    pub(crate) network: NetworkMode,
    pub(crate) security: SecurityMode,
    /// In the order of the op, which is the order of the outputs; one of them is the root.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) key: Digest,
    /// One per input of the op.
    pub(crate) inputs: Vec<InputUse>,
}

/// A variable whose value is a secret (row EXC-34).
#[derive(Debug, Clone)]
pub(crate) struct SecretEnv {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Missing = empty, else an error.
    pub(crate) optional: bool,
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl ExecStep {
    pub(crate) fn parse(
        op: pb::ExecOp,
        inputs: usize,
        platform: &Platform,
    ) -> Result<Self, SpecError> {
        let key = exec_key::key(&op, platform);
        let input_uses = exec_key::input_uses(&op, inputs)?;
        let network = network_mode(op.network)?;
        let security = security_mode(op.security)?;
        let meta = op.meta.ok_or(SpecError::missing("exec", "meta"))?;
        if meta.args.is_empty() {
            return Err(SpecError::missing("exec", "args"));
        }
        Ok(Self {
            env: environment(meta.env, meta.proxy_env.as_ref(), &platform.os),
            secret_env: secret_env(op.secretenv)?,
            args: meta.args,
            cwd: meta.cwd,
            user: meta.user,
            hostname: meta.hostname,
            extra_hosts: extra_hosts(meta.extra_hosts)?,
            ulimits: ulimits(meta.ulimit),
            cgroup_parent: meta.cgroup_parent,
            wanted_devices: wanted_devices(op.cdi_devices),
            devices: Vec::new(),
            resources: Resources::default(),
            platform: platform.clone(),
            remove_mount_stubs_recursive: meta.remove_mount_stubs_recursive,
            valid_exit_codes: meta.valid_exit_codes,
            network,
            security,
            mounts: mounts(op.mounts, inputs)?,
            key,
            inputs: input_uses,
        })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.mounts.iter().filter(|mount| mount.output).count()
    }

    /// Returns the ids of its cache mounts, and whether each lies on top of an input.
    pub(crate) fn cache_mounts(&self) -> impl Iterator<Item = (&str, bool)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountType::Cache { id, .. } => Some((id.as_str(), mount.input != Operand::Scratch)),
            _ => None,
        })
    }

    /// The arguments as names and messages show them (row LLB-15).
    pub(crate) fn command(&self) -> String {
        self.args.join(" ")
    }

    /// Says whether a process that ended with `code` succeeded.
    pub(crate) fn accepts(&self, code: i32) -> bool {
        if self.valid_exit_codes.is_empty() {
            code == 0
        } else {
            self.valid_exit_codes.contains(&code)
        }
    }
}

fn network_mode(value: i32) -> Result<NetworkMode, SpecError> {
    match pb::NetMode::try_from(value) {
        Ok(pb::NetMode::Unset) => Ok(NetworkMode::Sandbox),
        Ok(pb::NetMode::Host) => Ok(NetworkMode::Host),
        Ok(pb::NetMode::None) => Ok(NetworkMode::None),
        Err(_) => Err(SpecError::UnknownValue {
            what: "network mode",
            value,
        }),
    }
}

fn security_mode(value: i32) -> Result<SecurityMode, SpecError> {
    match pb::SecurityMode::try_from(value) {
        Ok(pb::SecurityMode::Sandbox) => Ok(SecurityMode::Sandbox),
        Ok(pb::SecurityMode::Insecure) => Ok(SecurityMode::Insecure),
        Err(_) => Err(SpecError::UnknownValue {
            what: "security mode",
            value,
        }),
    }
}

fn environment(mut env: Vec<String>, proxy: Option<&pb::ProxyEnv>, os: &str) -> Vec<String> {
    if let Some(proxy) = proxy {
        add_proxies(&mut env, proxy);
    }
    if os != "windows" && !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.to_owned());
    }
    env
}

fn add_proxies(env: &mut Vec<String>, proxy: &pb::ProxyEnv) {
    for (name, value) in [
        ("http_proxy", &proxy.http_proxy),
        ("https_proxy", &proxy.https_proxy),
        ("ftp_proxy", &proxy.ftp_proxy),
        ("no_proxy", &proxy.no_proxy),
        ("all_proxy", &proxy.all_proxy),
    ] {
        if !value.is_empty() {
            env.push(format!("{}={value}", name.to_uppercase()));
            env.push(format!("{name}={value}"));
        }
    }
}

fn secret_env(entries: Vec<pb::SecretEnv>) -> Result<Vec<SecretEnv>, SpecError> {
    let parse = |entry: pb::SecretEnv| {
        if entry.id.is_empty() {
            return Err(SpecError::NoSecretId {
                what: format!("{:?} environment variable", entry.name),
            });
        }
        Ok(SecretEnv {
            id: entry.id,
            name: entry.name,
            optional: entry.optional,
        })
    };
    entries.into_iter().map(parse).collect()
}

fn extra_hosts(hosts: Vec<pb::HostIp>) -> Result<Vec<(String, IpAddr)>, SpecError> {
    let parse = |entry: pb::HostIp| match entry.ip.parse() {
        Ok(address) => Ok((entry.host, address)),
        Err(_) => Err(SpecError::BadAddress {
            host: entry.host,
            ip: entry.ip,
        }),
    };
    hosts.into_iter().map(parse).collect()
}

fn ulimits(limits: Vec<pb::Ulimit>) -> Vec<Ulimit> {
    let convert = |limit: pb::Ulimit| Ulimit {
        name: limit.name,
        soft: limit_value(limit.soft),
        hard: limit_value(limit.hard),
    };
    limits.into_iter().map(convert).collect()
}

/// A negative limit means no limit.
fn limit_value(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn wanted_devices(devices: Vec<pb::CdiDevice>) -> Vec<CdiRequest> {
    let wanted = |device: pb::CdiDevice| CdiRequest {
        name: device.name,
        optional: device.optional,
    };
    devices.into_iter().map(wanted).collect()
}

/// Translates limits of the wire, where 0 and empty say nothing, and -1 of swap is any.
pub(crate) fn resources(given: &pb::LinuxResources) -> Resources {
    let limit = |value: i64| u64::try_from(value).unwrap_or(0);
    Resources {
        memory_bytes: limit(given.memory),
        memory_and_swap_bytes: match given.memory_swap {
            -1 => u64::MAX,
            other => limit(other),
        },
        cpu_shares: given.cpu_shares,
        cpu_period_us: given.cpu_period,
        cpu_quota_us: limit(given.cpu_quota),
        cpus: given.cpuset_cpus.clone(),
        memory_nodes: given.cpuset_mems.clone(),
    }
}

fn mounts(mounts: Vec<pb::Mount>, inputs: usize) -> Result<Vec<Mount>, SpecError> {
    if mounts.is_empty() {
        return Err(SpecError::missing("exec", "mounts"));
    }
    let mounts: Vec<Mount> = mounts
        .into_iter()
        .map(|mount| Mount::parse(mount, inputs))
        .collect::<Result<_, _>>()?;
    match mounts.iter().filter(|mount| mount.is_root()).count() {
        0 => Err(SpecError::missing("exec", "rootfs")),
        1 => Ok(mounts),
        _ => Err(SpecError::TwoRoots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(input: i64) -> pb::Mount {
        pb::Mount {
            input,
            dest: "/".to_owned(),
            ..pb::Mount::default()
        }
    }

    fn op(args: &[&str], mounts: Vec<pb::Mount>) -> pb::ExecOp {
        pb::ExecOp {
            meta: Some(pb::Meta {
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
                ..pb::Meta::default()
            }),
            mounts,
            ..pb::ExecOp::default()
        }
    }

    fn parse(op: pb::ExecOp) -> Result<ExecStep, SpecError> {
        ExecStep::parse(op, 1, &Platform::new("linux", "amd64", ""))
    }

    #[test]
    fn ops_without_meaning_are_refused() {
        let cache_root = pb::Mount {
            mount_type: pb::MountType::Cache.into(),
            cache_opt: Some(pb::CacheOpt::default()),
            ..root(0)
        };
        let odd_mount = pb::Mount {
            dest: "/x".to_owned(),
            mount_type: 77,
            ..pb::Mount::default()
        };
        let no_network = pb::ExecOp {
            network: 9,
            ..op(&["a"], vec![root(0)])
        };
        for (op, error) in [
            (pb::ExecOp::default(), "invalid exec op with no meta"),
            (op(&[], vec![root(0)]), "invalid exec op with no args"),
            (op(&["a"], vec![]), "invalid exec op with no mounts"),
            (
                op(&["a"], vec![root(1)]),
                "invalid input index 1: the op has 1 inputs",
            ),
            (
                op(&["a"], vec![root(-2)]),
                "invalid input index -2: the op has 1 inputs",
            ),
            (
                op(&["a"], vec![cache_root]),
                "invalid mount type CACHE for /",
            ),
            (
                op(&["a"], vec![root(0), odd_mount]),
                "unknown mount type 77",
            ),
            (
                op(&["a"], vec![root(0), root(0)]),
                "invalid exec op with more than one rootfs",
            ),
            (no_network, "unknown network mode 9"),
        ] {
            assert_eq!(parse(op).expect_err(error).to_string(), error);
        }
    }

    #[test]
    fn proxies_come_in_both_cases_and_path_has_a_default() {
        let mut op = op(&["a"], vec![root(0)]);
        let meta = op.meta.as_mut().expect("given");
        meta.env = vec!["A=1".to_owned()];
        meta.proxy_env = Some(pb::ProxyEnv {
            http_proxy: "p".to_owned(),
            ..pb::ProxyEnv::default()
        });
        let env = parse(op).expect("valid").env;
        assert_eq!(env, ["A=1", "HTTP_PROXY=p", "http_proxy=p", DEFAULT_PATH]);
    }

    #[test]
    fn limits_of_the_wire_are_translated() {
        let given = pb::LinuxResources {
            memory: 64,
            memory_swap: -1,
            cpu_quota: -5,
            cpuset_cpus: "0".to_owned(),
            ..pb::LinuxResources::default()
        };
        let expected = Resources {
            memory_bytes: 64,
            memory_and_swap_bytes: u64::MAX,
            cpus: "0".to_owned(),
            ..Resources::default()
        };
        assert_eq!(resources(&given), expected);
        assert!(resources(&pb::LinuxResources::default()).is_empty());
    }

    #[test]
    fn valid_exit_codes_replace_zero() {
        let mut op = op(&["a"], vec![root(0)]);
        op.meta.as_mut().expect("given").valid_exit_codes = vec![3];
        let step = parse(op).expect("valid");
        assert!(step.accepts(3) && !step.accepts(0));
    }
}
