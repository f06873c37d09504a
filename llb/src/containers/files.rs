//! Files on the mounts of a container, as they are now (row EXE-24).

use lamina_executor::MountKind;
use lamina_executor::Root;
use lamina_executor::StepMount;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;
use lamina_types::Stat;

use super::Container;
use crate::BuildError;
use crate::build::reads;
use crate::model::ExecStep;
use crate::model::Mount;

/// Returns of each mount the tree that its processes change; `None` for what is not made of layers.
pub(super) fn trees(step: &ExecStep, root: &Root, mounts: &[StepMount]) -> Vec<Option<Tree>> {
    let tree = |mount: &Mount| {
        if mount.is_root() {
            return Some(match root {
                Root::Active(layer) => layer.tree(),
                Root::ReadOnly(stack) => stack.tree(),
            });
        }
        let last = mounts.iter().rfind(|made| made.dest == mount.dest);
        match &last?.kind {
            MountKind::Active { layer, .. } => Some(layer.tree()),
            MountKind::View { stack, .. } => Some(stack.tree()),
            _ => None,
        }
    };
    step.mounts.iter().map(tree).collect()
}

impl Container {
    /// Reads a regular file of the mount number `mount`; `range` = offset, length.
    ///
    /// # Errors
    /// If there is no such mount or file, or the container was released.
    pub async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError> {
        self.read(mount, path, move |tree, path| {
            reads::read_file(tree, path, range)
        })
        .await
    }

    /// Lists a directory, sorted by name; `include` is an ignore-file pattern.
    ///
    /// # Errors
    /// As [`Container::read_file`].
    pub async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
        let include = include.map(str::to_owned);
        self.read(mount, path, move |tree, path| {
            reads::read_dir(tree, path, include.as_deref())
        })
        .await
    }

    /// Describes what a path leads to, or the link itself if that is nothing of this mount.
    ///
    /// # Errors
    /// As [`Container::read_file`].
    pub async fn stat_file(&self, mount: usize, path: &str) -> Result<(Vec<u8>, Stat), BuildError> {
        self.read(mount, path, |tree, path| {
            reads::stat_file(tree, path).or_else(|error| {
                // What a link that leads out of the mount names is elsewhere.
                reads::stat_link(tree, path).ok_or(error)
            })
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        mount: usize,
        path: &str,
        read: impl FnOnce(&Tree, &str) -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, BuildError> {
        let inner = &self.0;
        if !path.starts_with('/') {
            return Err(BuildError::new(format!("{path:?} is not an absolute path")));
        }
        let none = || BuildError::new(format!("the container has no mount {mount}"));
        let tree = inner.trees.get(mount).ok_or_else(none)?.clone();
        let hidden = || BuildError::new(format!("mount {mount} cannot be read from outside"));
        let tree = tree.ok_or_else(hidden)?;
        let path = selected(&inner.request.mounts[mount].mount.selector, path);
        let work = move |_: &CancelToken| read(&tree, &path);
        inner.services.blocking.run(&inner.cancel, work).await
    }
}

/// A path in the part of a tree that is mounted.
fn selected(selector: &str, path: &str) -> String {
    match selector.trim_matches('/') {
        "" => path.to_owned(),
        selector => format!("/{selector}{path}"),
    }
}
