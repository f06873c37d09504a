//! Making the mounts of a step, as descriptors and files to be sent.

use std::io;
use std::os::fd::OwnedFd;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_types::RootedPath;
use rustix::fs::FileType;

use super::Engine;
use super::Shown;
use crate::ExecError;
use crate::MountKind;
use crate::StepMount;
use crate::error::Doing;
use crate::in_root;
use crate::layout::Placed;
use crate::sandbox;
use crate::sockets::Listening;
use crate::stubs::Stub;
use crate::user;
use crate::wire::Blobs;
use crate::wire::Mount;
use crate::wire::Source;

/// Generated files that are mounted (row EXC-36).
const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Descriptors that come before those of the mounts: standard streams, root.
const BEFORE_MOUNTS: usize = 4;

/// The mounts of a step, as they pile up.
pub(super) struct Sources<'a> {
    pub(super) engine: &'a Engine,
    nodev: bool,
    pub(super) blobs: Blobs,
    pub(super) sent: Vec<OwnedFd>,
    pub(super) shown: Vec<Shown>,
    /// By index of the caller's list.
    pub(super) kept: Vec<Option<ActiveLayer>>,
    pub(super) mounts: Vec<Mount>,
    pub(super) sockets: Vec<Listening>,
    /// What each of `mounts` needs as its place.
    pub(super) places: Vec<(RootedPath, Stub)>,
}

impl<'a> Sources<'a> {
    /// Begins for `count` mounts of the caller. With `nodev`, device nodes in them do not work.
    pub(super) fn new(engine: &'a Engine, count: usize, nodev: bool) -> Self {
        Self {
            engine,
            nodev,
            blobs: Blobs::default(),
            sent: Vec::new(),
            shown: Vec::new(),
            kept: (0..count).map(|_| None).collect(),
            mounts: Vec::new(),
            sockets: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Adds the generated files, unless the caller has something of its own there.
    pub(super) fn add_files(&mut self, hosts: &str, resolv_conf: &str, placed: &[Placed]) {
        for (dest, content) in [(RESOLV_CONF, resolv_conf), (HOSTS, hosts)] {
            let dest = RootedPath::new(dest);
            if placed.iter().all(|mount| mount.dest != dest) {
                let source = self.blobs.add(content.as_bytes(), (0, 0), 0o644);
                self.push(dest, Stub::File, inert(source));
            }
        }
    }

    /// Adds a mount of the caller's.
    pub(super) fn add(&mut self, mount: StepMount, placed: Placed) -> Result<(), ExecError> {
        let Placed { index, dest } = placed;
        let (stub, mut made) = self.make(mount.kind, index)?;
        made.readonly |= mount.readonly;
        self.push(dest, stub, made);
        Ok(())
    }

    fn make(&mut self, kind: MountKind, index: usize) -> Result<(Stub, Mount), ExecError> {
        if let MountKind::Secret { uid, gid, .. } | MountKind::Socket { uid, gid, .. } = &kind {
            user::check(*uid, *gid)?;
        }
        match kind {
            MountKind::View { stack, selector } => self.view(stack, selector),
            MountKind::Active { layer, selector } => {
                let made = self.active(&layer, selector)?;
                if let Some(kept) = self.kept.get_mut(index) {
                    *kept = Some(layer);
                }
                Ok(made)
            }
            MountKind::Directory { dir, selector } => self.directory(&dir, selector),
            MountKind::Tmpfs { size_bytes } => {
                let made = plain(Source::Tmpfs { size_bytes });
                Ok((
                    Stub::Directory,
                    Mount {
                        nosuid: true,
                        ..made
                    },
                ))
            }
            MountKind::Secret {
                data,
                uid,
                gid,
                mode,
            } => {
                let made = inert(self.blobs.add(&data, (uid, gid), mode));
                let noexec = mode & 0o111 == 0;
                Ok((Stub::File, Mount { noexec, ..made }))
            }
            MountKind::Socket {
                on_connect,
                uid,
                gid,
                mode,
            } => {
                let listening = self.engine.sockets.listen(on_connect, (uid, gid), mode)?;
                self.socket(listening)
            }
        }
    }

    fn view(&mut self, stack: LayerStack, selector: String) -> Result<(Stub, Mount), ExecError> {
        let stub = kind_of(&stack.tree(), &selector)?;
        let view = self.engine.mounter.mount_view(&stack)?;
        self.shown.push(Shown {
            _stack: stack,
            _backing: view.backing,
        });
        let source = self.send(view.fd, selector);
        Ok((
            stub,
            Mount {
                readonly: true,
                ..plain(source)
            },
        ))
    }

    fn active(
        &mut self,
        layer: &ActiveLayer,
        selector: String,
    ) -> Result<(Stub, Mount), ExecError> {
        let stub = kind_of(&layer.tree(), &selector)?;
        let mount = self.engine.mounter.mount_active(layer)?;
        Ok((stub, plain(self.send(mount.fd, selector))))
    }

    fn directory(&mut self, dir: &OwnedFd, selector: String) -> Result<(Stub, Mount), ExecError> {
        let place = match in_root::open(dir, &RootedPath::new(&selector)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ExecError::SelectorNotFound { selector });
            }
            result => result.doing("open the selected part of a mount")?,
        };
        let kind = in_root::kind(&place).doing("open the selected part of a mount")?;
        // The clone is of what was opened, so nobody can exchange it any more.
        let clone = sandbox::clone_tree(&place).doing("clone a directory's mount")?;
        let stub = if kind == FileType::Directory {
            Stub::Directory
        } else {
            Stub::File
        };
        Ok((stub, plain(self.send(clone, String::new()))))
    }

    fn socket(
        &mut self,
        (listening, place): (Listening, OwnedFd),
    ) -> Result<(Stub, Mount), ExecError> {
        let clone = sandbox::clone_tree(&place).doing("clone a socket's mount")?;
        self.sockets.push(listening);
        Ok((Stub::File, inert(self.send(clone, String::new()))))
    }

    pub(super) fn send(&mut self, fd: OwnedFd, selector: String) -> Source {
        let index = BEFORE_MOUNTS + self.sent.len();
        self.sent.push(fd);
        Source::Descriptor { index, selector }
    }

    fn push(&mut self, dest: RootedPath, stub: Stub, mut mount: Mount) {
        mount.nodev |= self.nodev;
        self.push_as_is(dest, stub, mount);
    }

    /// Adds a mount in which device nodes work if it says so.
    pub(super) fn push_as_is(&mut self, dest: RootedPath, stub: Stub, mut mount: Mount) {
        mount.dest = dest.to_string();
        self.mounts.push(mount);
        self.places.push((dest, stub));
    }
}

/// Says whether a selector names a directory or something else (row EXC-14).
fn kind_of(tree: &Tree, selector: &str) -> Result<Stub, ExecError> {
    match tree.lookup(&RootedPath::new(selector), Follow::Last) {
        Ok(entry) if entry.stat().is_dir() => Ok(Stub::Directory),
        Ok(_) => Ok(Stub::File),
        Err(error) if error.is_not_found() => Err(ExecError::SelectorNotFound {
            selector: selector.to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// A mount whose destination is still to be filled in.
pub(super) fn plain(source: Source) -> Mount {
    Mount {
        dest: String::new(),
        source,
        readonly: false,
        nosuid: false,
        nodev: false,
        noexec: false,
    }
}

/// A read-only mount of data, or of a socket: that can be connected to all the same.
fn inert(source: Source) -> Mount {
    Mount {
        readonly: true,
        nosuid: true,
        nodev: true,
        noexec: true,
        ..plain(source)
    }
}
