//! The mounts of a step (rows DFI-10 to DFI-15).

use lamina_proto::pb;

use crate::convert::Converter;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::ExecBuilder;
use crate::graph::FileBuilder;
use crate::graph::Output;
use crate::graph::Place;
use crate::graph::owner;
use crate::instructions::Mount;
use crate::instructions::MountKind;
use crate::instructions::Run;
use crate::instructions::Sharing;
use crate::paths;

impl Converter<'_> {
    /// Adds the instruction's mounts, and what the options mount everywhere.
    pub(super) fn add_mounts(
        &mut self,
        id: StageId,
        run: &Run,
        sources: &[StageId],
        exec: &mut ExecBuilder,
    ) -> Result<()> {
        for (mount, source) in run.mounts.iter().zip(sources) {
            match mount.kind {
                MountKind::Secret => add_secret(mount, exec),
                MountKind::Ssh => {
                    self.require("exec.mount.ssh", "RUN --mount=type=ssh")?;
                    add_ssh(mount, exec)?;
                }
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    self.add_tree(id, mount, *source, exec)?;
                }
            }
        }
        if self.job.options.shm_size > 0 {
            let place = Place {
                target: "/dev/shm".to_owned(),
                ..Place::default()
            };
            exec.tmpfs(place, self.job.options.shm_size);
        }
        Ok(())
    }

    fn add_tree(
        &mut self,
        id: StageId,
        mount: &Mount,
        source: StageId,
        exec: &mut ExecBuilder,
    ) -> Result<()> {
        let from = self.mount_tree(mount, source)?;
        let place = self.place(id, mount, from)?;
        match mount.kind {
            MountKind::Tmpfs => exec.tmpfs(
                Place {
                    from: None,
                    ..place
                },
                mount.size_limit,
            ),
            MountKind::Cache => {
                let name = self.cache_id(mount);
                exec.cache(place, name, sharing(mount.sharing));
            }
            _ => exec.bind(place),
        }
        if takes_from_stage(mount) {
            self.stages.paths(source).add(&mount.source);
        } else {
            self.stages[id].context_paths.add(&mount.source);
        }
        Ok(())
    }

    fn mount_tree(&mut self, mount: &Mount, source: StageId) -> Result<Option<Output>> {
        if !takes_from_stage(mount) {
            return Ok(self.context_output());
        }
        let stage = &self.stages[source];
        if !mount.from.is_empty() && !stage.dispatched {
            return Err(FrontendError::LaterMount {
                from: mount.from.clone(),
                target: mount.target.clone(),
            }
            .into());
        }
        Ok(stage.state.output)
    }

    fn place(&mut self, id: StageId, mount: &Mount, from: Option<Output>) -> Result<Place> {
        let target = if paths::clean(&mount.target).starts_with('/') {
            mount.target.clone()
        } else {
            paths::join(&format!("/{}", self.stages[id].state.dir), &mount.target)
        };
        if target == "/" {
            return Err(FrontendError::MountTarget { target }.into());
        }
        let source = paths::join("/", &mount.source);
        let has_owner = mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some();
        let (from, selector) = match (source.as_str(), has_owner) {
            ("/", true) => (Some(self.owned_directory(mount, from)), "/cache".to_owned()),
            ("/", false) => (from, String::new()),
            _ => (from, source),
        };
        Ok(Place {
            from,
            target,
            selector,
            read_only: mount.read_only,
        })
    }

    /// Makes the directory that a cache starts as, with owner and mode.
    fn owned_directory(&mut self, mount: &Mount, from: Option<Output>) -> Output {
        let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let mode = mount.mode.unwrap_or(0o755) & 0o777;
        let mut file = FileBuilder::new(from);
        let mode = i32::try_from(mode).unwrap_or(0o755);
        file.make_dir(
            "/cache",
            mode,
            Some(owner(&format!("{uid}:{gid}"))),
            false,
            None,
        );
        let name = "[internal] setting cache mount permissions";
        Output::of(self.graph.add(file.finish().named(name)))
    }

    fn cache_id(&self, mount: &Mount) -> String {
        let id = if mount.id.is_empty() {
            paths::clean(&mount.target)
        } else {
            mount.id.clone()
        };
        format!("{}/{id}", self.job.options.cache_namespace)
    }
}

/// Only binds without a `from` show the build context.
fn takes_from_stage(mount: &Mount) -> bool {
    !mount.from.is_empty() || mount.kind == MountKind::Cache
}

fn sharing(sharing: Option<Sharing>) -> pb::CacheSharingOpt {
    match sharing {
        None | Some(Sharing::Shared) => pb::CacheSharingOpt::Shared,
        Some(Sharing::Private) => pb::CacheSharingOpt::Private,
        Some(Sharing::Locked) => pb::CacheSharingOpt::Locked,
    }
}

/// Returns the name of the secret that a mount asks for.
pub(super) fn secret_id(mount: &Mount) -> String {
    [&mount.source, &mount.id]
        .into_iter()
        .find(|id| !id.is_empty())
        .map_or_else(|| paths::base_name(&mount.target).to_owned(), Clone::clone)
}

/// Mounts a secret as a file, sets it as a variable, or both.
fn add_secret(mount: &Mount, exec: &mut ExecBuilder) {
    let id = secret_id(mount);
    let optional = !mount.required;
    if let Some(name) = &mount.env {
        exec.secret_env.push(pb::SecretEnv {
            id: id.clone(),
            name: name.clone(),
            optional,
        });
    }
    let target = match (&mount.env, mount.target.as_str()) {
        (Some(_), "") => return,
        (None, "") => format!("/run/secrets/{}", paths::base_name(&id)),
        (_, target) => target.to_owned(),
    };
    let secret = pb::SecretOpt {
        id,
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
        mode: mount.mode.unwrap_or(0o400),
        optional,
    };
    exec.secret(target, secret);
}

fn add_ssh(mount: &Mount, exec: &mut ExecBuilder) -> Result<()> {
    if !mount.source.is_empty() {
        return Err(FrontendError::SshSource.into());
    }
    let ssh = pb::SshOpt {
        id: mount.id.clone(),
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
        mode: mount.mode.unwrap_or(0o600),
        optional: !mount.required,
    };
    exec.ssh(&mount.target, ssh);
    Ok(())
}
