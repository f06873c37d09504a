//! Processes.

use lamina_proto::pb;

use crate::graph::NONE;
use crate::graph::Output;
use crate::graph::Vertex;

/// A process with its mounts.
#[derive(Debug)]
pub(crate) struct ExecBuilder {
    pub(crate) meta: pb::Meta,
    pub(crate) network: pb::NetMode,
    pub(crate) security: pb::SecurityMode,
    pub(crate) secret_env: Vec<pb::SecretEnv>,
    mounts: Vec<(Option<Output>, pb::Mount)>,
    /// Secrets and sockets: no trees, and after the mounts.
    client_mounts: Vec<pb::Mount>,
    vertex: Vertex,
}

/// Where a mount's content comes from and how it may be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) from: Option<Output>,
    pub(crate) target: String,
    /// A path in `from`; empty for its root.
    pub(crate) selector: String,
    pub(crate) read_only: bool,
}

impl ExecBuilder {
    /// Starts a process on `root`.
    pub(crate) fn new(meta: pb::Meta, root: Option<Output>) -> Self {
        let mut vertex = Vertex::new(pb::op::Op::Exec(pb::ExecOp::default()));
        vertex.needs("exec.meta.base");
        let mut builder = Self {
            meta,
            network: pb::NetMode::Unset,
            security: pb::SecurityMode::Sandbox,
            secret_env: Vec::new(),
            mounts: Vec::new(),
            client_mounts: Vec::new(),
            vertex,
        };
        let mut mount = builder.mount(Place {
            target: "/".to_owned(),
            ..Place::default()
        });
        mount.output = 0;
        builder.push(root, mount);
        builder
    }

    /// Returns the vertex, for its metadata.
    pub(crate) fn vertex(&mut self) -> &mut Vertex {
        &mut self.vertex
    }

    /// Mounts a tree; what the process writes there is dropped.
    pub(crate) fn bind(&mut self, place: Place) {
        let from = place.from;
        if !place.read_only {
            self.vertex.needs("exec.mount.bind.readwrite-nooutput");
        }
        let mount = self.mount(place);
        self.push(from, mount);
    }

    /// Mounts a directory that outlives the build.
    pub(crate) fn cache(&mut self, place: Place, id: String, sharing: pb::CacheSharingOpt) {
        let from = place.from;
        let mut mount = self.mount(place);
        mount.set_mount_type(pb::MountType::Cache);
        mount.cache_opt = Some(pb::CacheOpt {
            id,
            sharing: sharing.into(),
        });
        self.vertex.needs("exec.mount.cache");
        self.vertex.needs("exec.mount.cache.sharing");
        self.push(from, mount);
    }

    /// Mounts memory; `size` is in bytes, 0 for no limit.
    pub(crate) fn tmpfs(&mut self, place: Place, size: i64) {
        let mut mount = self.mount(place);
        mount.set_mount_type(pb::MountType::Tmpfs);
        mount.tmpfs_opt = Some(pb::TmpfsOpt { size });
        self.vertex.needs("exec.mount.tmpfs");
        if size > 0 {
            self.vertex.needs("exec.mount.tmpfs.size");
        }
        self.push(None, mount);
    }

    /// Mounts a secret.
    pub(crate) fn secret(&mut self, target: String, secret: pb::SecretOpt) {
        let mut mount = client_mount(target, pb::MountType::Secret);
        mount.secret_opt = Some(secret);
        self.client_mounts.push(mount);
        self.vertex.needs("exec.mount.secret");
    }

    /// Forwards an agent's socket; an empty target becomes the default one.
    pub(crate) fn ssh(&mut self, target: &str, ssh: pb::SshOpt) {
        let is_socket = |mount: &&pb::Mount| mount.ssh_opt.is_some();
        let number = self.client_mounts.iter().filter(is_socket).count();
        let target = match target {
            "" => format!("/run/buildkit/ssh_agent.{number}"),
            target => target.to_owned(),
        };
        if number == 0
            && !self
                .meta
                .env
                .iter()
                .any(|line| line.starts_with("SSH_AUTH_SOCK="))
        {
            self.meta.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        let mut mount = client_mount(target, pb::MountType::Ssh);
        mount.ssh_opt = Some(ssh);
        self.client_mounts.push(mount);
        self.vertex.needs("exec.mount.ssh");
    }

    fn mount(&mut self, place: Place) -> pb::Mount {
        if !place.selector.is_empty() {
            self.vertex.needs("exec.mount.selector");
        }
        pb::Mount {
            dest: place.target,
            selector: place.selector,
            readonly: place.read_only,
            output: NONE,
            ..pb::Mount::default()
        }
    }

    fn push(&mut self, from: Option<Output>, mount: pb::Mount) {
        if from.is_some() {
            self.vertex.needs("exec.mount.bind");
        }
        self.mounts.push((from, mount));
    }

    /// Returns the vertex; its first output is the root as the process leaves it.
    pub(crate) fn finish(mut self) -> Vertex {
        self.note_caps();
        self.mounts.sort_by(|(_, a), (_, b)| a.dest.cmp(&b.dest));
        let mut mounts = Vec::new();
        for (from, mut mount) in self.mounts {
            mount.input = self.vertex.input(from);
            mounts.push(mount);
        }
        mounts.extend(self.client_mounts);
        self.vertex.op = pb::op::Op::Exec(pb::ExecOp {
            meta: Some(self.meta),
            mounts,
            network: self.network.into(),
            security: self.security.into(),
            secretenv: self.secret_env,
            cdi_devices: Vec::new(),
        });
        self.vertex
    }

    fn note_caps(&mut self) {
        let limits = self.vertex.metadata.linux_resources.is_some();
        for (used, cap) in [
            (self.network != pb::NetMode::Unset, "exec.meta.network"),
            (
                self.security != pb::SecurityMode::Sandbox,
                "exec.meta.security",
            ),
            (self.meta.proxy_env.is_some(), "exec.meta.proxyenv"),
            (!self.meta.ulimit.is_empty(), "exec.meta.ulimit"),
            (
                !self.meta.cgroup_parent.is_empty(),
                "exec.meta.cgroup.parent",
            ),
            (!self.secret_env.is_empty(), "exec.secretenv"),
            (limits, "exec.meta.linux.resources"),
        ] {
            if used {
                self.vertex.needs(cap);
            }
        }
    }
}

fn client_mount(target: String, kind: pb::MountType) -> pb::Mount {
    let mut mount = pb::Mount {
        input: NONE,
        output: NONE,
        dest: target,
        ..pb::Mount::default()
    };
    mount.set_mount_type(kind);
    mount
}
