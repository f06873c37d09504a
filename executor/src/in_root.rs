//! Opening places inside a directory tree that others may be changing.
//!
//! The kernel resolves the path with the tree's root as its root (`openat2` with
//! `RESOLVE_IN_ROOT`). Where that call is filtered, as in some containers, a walk of our own does
//! the same: one component at a time, links spliced into the remaining path, `..` by going back to
//! a descriptor that we hold.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use lamina_types::RootedPath;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// Links that one path may lead through, as for the kernel.
const MAX_LINKS: usize = 40;

/// Opens (`O_PATH`) what `path` names in the tree at `root`. Links are followed inside the tree,
/// the last component's too.
pub(crate) fn open(root: impl AsFd, path: &RootedPath) -> io::Result<OwnedFd> {
    resolve(root.as_fd(), path, ResolveFlags::IN_ROOT)
}

/// The same, but refuses links anywhere in `path` with `ELOOP`.
pub(crate) fn open_without_links(root: impl AsFd, path: &RootedPath) -> io::Result<OwnedFd> {
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    resolve(root.as_fd(), path, flags)
}

fn resolve(root: BorrowedFd<'_>, path: &RootedPath, flags: ResolveFlags) -> io::Result<OwnedFd> {
    let relative = if path.is_root() {
        b"."
    } else {
        path.relative()
    };
    let how = OFlags::PATH | OFlags::CLOEXEC;
    let flags = flags | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, relative, how, Mode::empty(), flags) {
            // Something was renamed meanwhile, so the kernel could not be sure about a `..`.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => {
                let links = !flags.contains(ResolveFlags::NO_SYMLINKS);
                return walk(root, path, if links { MAX_LINKS } else { 0 });
            }
            result => return Ok(result?),
        }
    }
}

fn walk(root: BorrowedFd<'_>, path: &RootedPath, max_links: usize) -> io::Result<OwnedFd> {
    let mut rest: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    let mut opened: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == b".." {
            opened.pop();
            continue;
        }
        let here = opened.last().map_or(root, AsFd::as_fd);
        let next = open_component(here, &name)?;
        if kind(&next)? != FileType::Symlink {
            opened.push(next);
            continue;
        }
        links += 1;
        if links > max_links {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
        if target.to_bytes().starts_with(b"/") {
            opened.clear();
        }
        splice(&mut rest, target.to_bytes());
    }
    match opened.pop() {
        Some(last) => Ok(last),
        None => open_component(root, b"."),
    }
}

fn splice(rest: &mut VecDeque<Vec<u8>>, target: &[u8]) {
    let names = target.split(|byte| *byte == b'/');
    for name in names.rev().filter(|name| !name.is_empty() && *name != b".") {
        rest.push_front(name.to_vec());
    }
}

fn open_component(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Returns what a descriptor is of.
pub(crate) fn kind(fd: impl AsFd) -> io::Result<FileType> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Opens by the kernel and by our walk, and returns the inode that both found.
    fn inode(root: &OwnedFd, path: &str) -> Result<u64, i32> {
        let path = RootedPath::new(path);
        let found = [open(root, &path), walk(root.as_fd(), &path, MAX_LINKS)].map(|opened| {
            opened
                .map(|fd| rustix::fs::fstat(fd).expect("stat").st_ino)
                .map_err(|error| error.raw_os_error().unwrap_or_default())
        });
        assert_eq!(found[0], found[1], "{path}");
        found[0]
    }

    #[test]
    fn nothing_outside_is_reached() {
        let temp = tempfile::tempdir().expect("temp dir");
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).expect("dirs");
        std::fs::write(temp.path().join("secret"), "x").expect("file");
        std::fs::write(root.join("secret"), "y").expect("file");
        for (name, target) in [
            ("up", "../../secret"),
            ("absolute", "/secret"),
            ("loop", "loop"),
            ("dir", "a/b/.."),
            ("dangling", "/nowhere"),
            ("through", "dir/../up"),
        ] {
            symlink(target, root.join(name)).expect("link");
        }
        let fd = rustix::fs::open(&root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .expect("root");
        let expected = |path: &str| Ok(root.join(path).metadata().expect("stat").ino());
        for (path, found) in [
            ("/", expected("")),
            ("a/b", expected("a/b")),
            ("up", expected("secret")),
            ("absolute", expected("secret")),
            ("dir", expected("a")),
            ("through", expected("secret")),
            ("loop", Err(libc::ELOOP)),
            ("dangling", Err(libc::ENOENT)),
            ("secret/x", Err(libc::ENOTDIR)),
        ] {
            assert_eq!(inode(&fd, path), found, "{path}");
        }
        let refused = open_without_links(&fd, &RootedPath::new("dir")).expect_err("a link");
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
    }
}
