//! A process in a definition.

use lamina_proto::pb;
use lamina_proto::pb::op::Op;

use super::Inputs;
use super::NONE;
use super::State;
use super::Vertex;

/// Describes a process; see [`State::run`].
#[derive(Clone, Debug)]
pub struct Run {
    inputs: Inputs,
    exec: pb::ExecOp,
    meta: pb::Meta,
    outputs: i64,
}

impl Run {
    pub(super) fn new(root: &State, args: Vec<String>) -> Self {
        let meta = pb::Meta {
            args,
            cwd: "/".to_owned(),
            ..pb::Meta::default()
        };
        let run = Self {
            inputs: Inputs::default(),
            exec: pb::ExecOp::default(),
            meta,
            outputs: 0,
        };
        run.bind("/", root, false)
    }

    fn bind(mut self, dest: &str, state: &State, readonly: bool) -> Self {
        let output = if readonly {
            NONE
        } else {
            self.outputs += 1;
            self.outputs - 1
        };
        let input = self.inputs.push(state);
        self.add_mount(pb::Mount {
            input,
            dest: dest.to_owned(),
            output,
            readonly,
            ..pb::Mount::default()
        })
    }

    fn add_mount(mut self, mount: pb::Mount) -> Self {
        self.exec.mounts.push(mount);
        self
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.meta.env.push(format!("{name}={value}"));
        self
    }

    /// Sets the working directory; `/` unless called.
    #[must_use]
    pub fn cwd(mut self, path: &str) -> Self {
        path.clone_into(&mut self.meta.cwd);
        self
    }

    /// Sets the user; root unless called.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.meta.user);
        self
    }

    /// Sets the network.
    #[must_use]
    pub fn network(mut self, mode: pb::NetMode) -> Self {
        self.exec.network = mode.into();
        self
    }

    /// Sets what the process may do to the host.
    #[must_use]
    pub fn security(mut self, mode: pb::SecurityMode) -> Self {
        self.exec.security = mode.into();
        self
    }

    /// Mounts a tree that the process may read.
    #[must_use]
    pub fn mount(self, dest: &str, state: &State) -> Self {
        self.bind(dest, state, true)
    }

    /// Mounts a tree that the process may change; [`Self::output`] is what it leaves there.
    #[must_use]
    pub fn mount_writable(self, dest: &str, state: &State) -> Self {
        self.bind(dest, state, false)
    }

    /// Mounts a cache that outlives builds.
    #[must_use]
    pub fn cache(self, dest: &str, id: &str) -> Self {
        self.add_mount(pb::Mount {
            input: NONE,
            dest: dest.to_owned(),
            output: NONE,
            mount_type: pb::MountType::Cache.into(),
            cache_opt: Some(pb::CacheOpt {
                id: id.to_owned(),
                sharing: pb::CacheSharingOpt::Shared.into(),
            }),
            ..pb::Mount::default()
        })
    }

    /// Mounts a secret of the client as a file that its owner may read.
    #[must_use]
    pub fn secret(self, dest: &str, id: &str) -> Self {
        self.add_mount(pb::Mount {
            input: NONE,
            dest: dest.to_owned(),
            output: NONE,
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt {
                id: id.to_owned(),
                mode: 0o400,
                ..pb::SecretOpt::default()
            }),
            ..pb::Mount::default()
        })
    }

    /// Mounts an agent or socket that the client forwards.
    #[must_use]
    pub fn ssh(self, dest: &str, id: &str) -> Self {
        self.add_mount(pb::Mount {
            input: NONE,
            dest: dest.to_owned(),
            output: NONE,
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt {
                id: id.to_owned(),
                mode: 0o600,
                ..pb::SshOpt::default()
            }),
            ..pb::Mount::default()
        })
    }

    /// Returns the root as the process leaves it.
    #[must_use]
    pub fn root(&self) -> State {
        self.output(0)
    }

    /// Returns what the process leaves in a writable mount: 0 is the root, 1 the first that was
    /// added.
    #[must_use]
    pub fn output(&self, index: i64) -> State {
        let exec = pb::ExecOp {
            meta: Some(self.meta.clone()),
            ..self.exec.clone()
        };
        Vertex::add(Op::Exec(exec), &self.inputs, None).output(index)
    }
}
