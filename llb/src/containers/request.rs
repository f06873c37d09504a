//! What a container is asked to be, and reading that as a step.

use lamina_proto::pb;
use lamina_types::Platform;

use crate::BuildError;
use crate::Reference;
use crate::model::ExecStep;

/// A container to be made (rows EXE-01 to EXE-06).
#[derive(Clone, Debug, Default)]
pub struct ContainerRequest {
    /// One of them at `/`.
    pub mounts: Vec<ContainerMount>,
    /// As on the wire.
    pub network: i32,
    /// Lines of `/etc/hosts`.
    pub extra_hosts: Vec<pb::HostIp>,
    /// Empty for that of steps.
    pub hostname: String,
    /// What its processes are made for; `None` = the default platform.
    pub platform: Option<Platform>,
}

/// One mount of a container (row EXE-02).
#[derive(Clone, Debug, Default)]
pub struct ContainerMount {
    /// As on the wire; its input and output do not count.
    pub mount: pb::Mount,
    /// What is mounted; `None` = an empty directory.
    pub reference: Option<Reference>,
}

/// Stands for the program where there is none yet.
const NO_PROGRAM: &str = "container";

/// Stands for no input or no output.
const NONE: i64 = -1;

impl ContainerRequest {
    /// Reads it as a step that runs nothing.
    pub(super) fn step(&self) -> Result<ExecStep, BuildError> {
        let meta = pb::Meta {
            args: vec![NO_PROGRAM.to_owned()],
            ..pb::Meta::default()
        };
        self.step_of(pb::ExecOp {
            meta: Some(meta),
            ..pb::ExecOp::default()
        })
    }

    /// Reads it as a step that runs the process of `op`, which has no mounts.
    pub(super) fn step_of(&self, mut op: pb::ExecOp) -> Result<ExecStep, BuildError> {
        let mut inputs = 0;
        let mounts = self.mounts.iter().map(|given| {
            let mut mount = given.mount.clone();
            if !mount.dest.starts_with('/') {
                mount.dest.insert(0, '/');
            }
            let is_root = mount.dest == "/";
            mount.input = NONE;
            if given.reference.is_some() {
                mount.input = inputs;
                inputs += 1;
            }
            // An empty root must be good for something; nothing else is kept.
            mount.output = if is_root { 0 } else { NONE };
            mount
        });
        op.mounts = mounts.collect();
        op.network = self.network;
        let meta = op.meta.get_or_insert_default();
        meta.extra_hosts.clone_from(&self.extra_hosts);
        meta.hostname.clone_from(&self.hostname);
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let inputs = usize::try_from(inputs).unwrap_or_default();
        let step = ExecStep::parse(op, inputs, &platform);
        step.map_err(|error| BuildError::new(error.to_string()))
    }

    /// Returns what is mounted, in the order of the inputs.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.mounts
            .iter()
            .filter_map(|mount| mount.reference.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(mounts: Vec<pb::Mount>) -> ContainerRequest {
        let mounts = mounts.into_iter().map(|mount| ContainerMount {
            mount,
            reference: None,
        });
        ContainerRequest {
            mounts: mounts.collect(),
            ..ContainerRequest::default()
        }
    }

    fn at(dest: &str) -> pb::Mount {
        pb::Mount {
            dest: dest.to_owned(),
            input: 7,
            output: 3,
            ..pb::Mount::default()
        }
    }

    #[test]
    fn requests_without_meaning_are_refused_as_steps_are() {
        let cache_root = pb::Mount {
            mount_type: pb::MountType::Cache.into(),
            cache_opt: Some(pb::CacheOpt::default()),
            ..at("/")
        };
        let odd = pb::Mount {
            mount_type: 77,
            ..at("/x")
        };
        let odd_network = ContainerRequest {
            network: 9,
            ..request(vec![at("/")])
        };
        for (request, text) in [
            (request(vec![]), "invalid exec op with no mounts"),
            (request(vec![at("/x")]), "invalid exec op with no rootfs"),
            (
                request(vec![at("/"), at("/")]),
                "invalid exec op with more than one rootfs",
            ),
            (request(vec![cache_root]), "invalid mount type CACHE for /"),
            (request(vec![at("/"), odd]), "unknown mount type 77"),
            (odd_network, "unknown network mode 9"),
        ] {
            let error = request.step().expect_err(text);
            assert_eq!(error.to_string(), text);
        }
    }

    /// Row EXE-02: input and output are ignored.
    #[test]
    fn mounts_are_private() {
        let step = request(vec![at("/"), at("relative")]).step();
        let step = step.expect("valid");
        let shown: Vec<_> = step
            .mounts
            .iter()
            .map(|mount| (mount.dest.as_str(), mount.output))
            .collect();
        assert_eq!(shown, [("/", true), ("/relative", false)]);
    }
}
