//! Turning the mounts of a step into what the executor mounts (rows EXC-13 to EXC-26).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use lamina_executor::MountKind;
use lamina_executor::OnConnect;
use lamina_executor::Root;
use lamina_executor::StepMount;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::SnapshotStore;
use lamina_solver::OpContext;
use lamina_types::CancelToken;

use super::BuildContext;
use super::OpFailure;
use super::context::secret;
use super::exec_ssh::sockets;
use super::value;
use crate::Services;
use crate::Snapshot;
use crate::cache_mounts::CacheDir;
use crate::cache_mounts::CacheKey;
use crate::model::CacheSharing;
use crate::model::ExecStep;
use crate::model::Mount;
use crate::model::MountType;
use crate::model::Operand;

/// All that a process sees, ready to be mounted.
pub(crate) struct Prepared {
    pub(crate) root: Root,
    pub(crate) mounts: Vec<StepMount>,
    /// One per mount of the step: what becomes of it.
    pub(super) fates: Vec<Fate>,
    /// Held until the process has ended.
    pub(crate) cache_dirs: CacheDirs,
}

/// What becomes of a mount when the process has ended.
pub(crate) enum Fate {
    /// It is no output.
    Discarded,
    /// The layer of the root, on top of this, is an output.
    Root(Snapshot),
    /// The layer of the mount with this index, on top of this, is an output.
    Mount(usize, Snapshot),
    /// The output is what went in (rows EXC-16, EXC-20).
    Unchanged(Snapshot),
}

/// The cache directories of one step; two mounts with one key share (row EXC-24).
pub(crate) type CacheDirs = BTreeMap<CacheKey, CacheDir>;

/// Gets directories, secrets and layers for the mounts of `step`.
pub(crate) async fn prepare(
    step: &Arc<ExecStep>,
    services: &Arc<Services>,
    inputs: Vec<Snapshot>,
    context: &OpContext<BuildContext>,
) -> Result<Prepared, OpFailure> {
    let secrets = secrets(step, context).await?;
    let sockets = sockets(step, context).await?;
    let cache_dirs = cache_dirs(step, services, &inputs, context).await?;
    let (step, store) = (Arc::clone(step), services.snapshots.clone());
    let work = move |_: &CancelToken| {
        let mut builder = Builder {
            store,
            command: step.args.join(" "),
            inputs,
            secrets,
            sockets,
            cache_dirs,
            root: None,
            mounts: Vec::new(),
        };
        let fates = step
            .mounts
            .iter()
            .enumerate()
            .map(|(at, mount)| builder.add(at, mount));
        let fates = fates.collect::<Result<_, _>>()?;
        builder.finish(fates)
    };
    services.blocking.run(&context.cancel, work).await
}

/// The secrets that mounts need, by index of the mount; optional ones may be missing.
async fn secrets(
    step: &ExecStep,
    context: &OpContext<BuildContext>,
) -> Result<BTreeMap<usize, Vec<u8>>, OpFailure> {
    let mut found = BTreeMap::new();
    for (at, mount) in step.mounts.iter().enumerate() {
        let MountType::Secret(file) = &mount.kind else {
            continue;
        };
        match secret(context, &file.id).await? {
            Some(data) => drop(found.insert(at, data)),
            None if file.optional => {}
            None => return Err(OpFailure::NoSecret(file.id.clone())),
        }
    }
    Ok(found)
}

/// Takes all cache directories in the order of their keys, so that steps which lock several
/// cannot wait for each other in a circle.
async fn cache_dirs(
    step: &ExecStep,
    services: &Services,
    inputs: &[Snapshot],
    context: &OpContext<BuildContext>,
) -> Result<CacheDirs, OpFailure> {
    let mut wanted: BTreeMap<CacheKey, (CacheSharing, Snapshot)> = BTreeMap::new();
    for mount in &step.mounts {
        if let (MountType::Cache { sharing, .. }, Some(key)) =
            (&mount.kind, cache_key(mount, inputs))
            && let Entry::Vacant(entry) = wanted.entry(key)
        {
            entry.insert((*sharing, value(mount.input, inputs)));
        }
    }
    let mut dirs = CacheDirs::new();
    let told = (&context.progress, &context.cancel);
    for (key, (sharing, seed)) in wanted {
        let pool = &services.cache_mounts;
        let dir = pool
            .acquire(&key, sharing, seed.stack(), &services.blocking, told)
            .await?;
        dirs.insert(key, dir);
    }
    Ok(dirs)
}

fn cache_key(mount: &Mount, inputs: &[Snapshot]) -> Option<CacheKey> {
    let MountType::Cache { id, .. } = &mount.kind else {
        return None;
    };
    let layers = |seed: Snapshot| seed.stack().layers().iter().map(Layer::id).collect();
    let seeded = mount.input != Operand::Scratch;
    Some(CacheKey {
        id: id.clone(),
        seed: seeded.then(|| layers(value(mount.input, inputs))),
    })
}

/// What becomes of a mount that the step does not write to.
fn unchanged(mount: &Mount, input: Snapshot) -> Fate {
    match mount.output {
        true => Fate::Unchanged(input),
        false => Fate::Discarded,
    }
}

struct Builder {
    store: SnapshotStore,
    /// What layers are said to come from.
    command: String,
    inputs: Vec<Snapshot>,
    secrets: BTreeMap<usize, Vec<u8>>,
    sockets: BTreeMap<usize, OnConnect>,
    cache_dirs: CacheDirs,
    root: Option<Root>,
    mounts: Vec<StepMount>,
}

impl Builder {
    /// Adds the mount number `at`.
    fn add(&mut self, at: usize, mount: &Mount) -> Result<Fate, OpFailure> {
        let input = value(mount.input, &self.inputs);
        let kind = match &mount.kind {
            MountType::Bind if mount.is_root() => return self.set_root(mount, input),
            MountType::Bind => return self.bind(mount, input),
            MountType::Cache { .. } => self.cache_dir(mount)?.map(|dir| MountKind::Directory {
                dir,
                selector: mount.selector.clone(),
            }),
            MountType::Tmpfs { size_bytes } => Some(MountKind::Tmpfs {
                size_bytes: *size_bytes,
            }),
            MountType::Secret(file) => self.secrets.remove(&at).map(|data| MountKind::Secret {
                data,
                uid: file.uid,
                gid: file.gid,
                mode: file.mode,
            }),
            MountType::Ssh(socket) => {
                let socket_of = |on_connect| MountKind::Socket {
                    on_connect,
                    uid: socket.uid,
                    gid: socket.gid,
                    mode: socket.mode,
                };
                self.sockets.remove(&at).map(socket_of)
            }
        };
        let Some(kind) = kind else {
            return Ok(Fate::Discarded);
        };
        self.push(mount, kind);
        Ok(unchanged(mount, input))
    }

    /// Adds a tree: as it is if nothing can be written to it, else with a layer on top.
    fn bind(&mut self, mount: &Mount, input: Snapshot) -> Result<Fate, OpFailure> {
        let selector = mount.selector.clone();
        if mount.readonly && mount.input != Operand::Scratch {
            let stack = input.stack().clone();
            self.push(mount, MountKind::View { stack, selector });
            return Ok(unchanged(mount, input));
        }
        let layer = self.layer(mount, &input)?;
        let index = self.push(mount, MountKind::Active { layer, selector });
        Ok(match mount.output {
            true => Fate::Mount(index, input),
            false => Fate::Discarded,
        })
    }

    fn set_root(&mut self, mount: &Mount, input: Snapshot) -> Result<Fate, OpFailure> {
        if mount.readonly {
            self.root = Some(Root::ReadOnly(input.stack().clone()));
            return Ok(unchanged(mount, input));
        }
        self.root = Some(Root::Active(self.layer(mount, &input)?));
        Ok(if mount.output {
            Fate::Root(input)
        } else {
            Fate::Discarded
        })
    }

    fn layer(&self, mount: &Mount, input: &Snapshot) -> Result<ActiveLayer, OpFailure> {
        let mut layer = self.store.prepare(input.stack())?;
        layer.describe(format!("mount {} from exec {}", mount.dest, self.command));
        Ok(layer)
    }

    fn cache_dir(&self, mount: &Mount) -> Result<Option<std::os::fd::OwnedFd>, OpFailure> {
        let key = cache_key(mount, &self.inputs);
        let dir = key.and_then(|key| self.cache_dirs.get(&key));
        Ok(dir.map(CacheDir::open).transpose()?)
    }

    fn push(&mut self, mount: &Mount, kind: MountKind) -> usize {
        self.mounts.push(StepMount {
            dest: mount.dest.clone(),
            kind,
            readonly: mount.readonly,
        });
        self.mounts.len() - 1
    }

    fn finish(self, fates: Vec<Fate>) -> Result<Prepared, OpFailure> {
        Ok(Prepared {
            root: self.root.ok_or(OpFailure::NoRoot)?,
            mounts: self.mounts,
            fates,
            cache_dirs: self.cache_dirs,
        })
    }
}
