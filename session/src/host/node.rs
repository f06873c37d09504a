//! Pipes and devices.

use std::os::fd::AsFd;

use lamina_types::FileKind;
use lamina_types::Stat;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::io::Errno;

/// What became of a pipe or device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a device that is missing is to be told"]
pub enum Node {
    /// It is there, for its owner only; mode and times are still to be set.
    Made,
    /// It is a device, which only root can make, and we are not root.
    NoPermission,
}

/// Makes the pipe or device that `stat` describes; there must be nothing of that name.
///
/// # Errors
/// What the system says, but for devices that only root can make; `EINVAL` if `stat` describes
/// something else.
pub fn make_node(stat: &Stat, parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Node> {
    let kind = match stat.kind {
        FileKind::Fifo => FileType::Fifo,
        FileKind::CharDevice => FileType::CharacterDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::File | FileKind::Directory | FileKind::Symlink | FileKind::Socket => {
            return Err(Errno::INVAL);
        }
    };
    let device = rustix::fs::makedev(stat.device.major, stat.device.minor);
    match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device) {
        Ok(()) => Ok(Node::Made),
        Err(Errno::PERM) if kind != FileType::Fifo => Ok(Node::NoPermission),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::Path;

    use rustix::fs::IFlags;
    use rustix::fs::ioctl_getflags;
    use rustix::fs::ioctl_setflags;

    use super::*;

    fn make(kind: FileKind, dir: &Path) -> rustix::io::Result<Node> {
        let parent = File::open(dir).expect("opens");
        make_node(&Stat::new(kind, 0o600), parent, b"node")
    }

    #[test]
    fn pipes_are_made_and_other_kinds_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(make(FileKind::Fifo, dir.path()), Ok(Node::Made));
        assert_eq!(make(FileKind::Fifo, dir.path()), Err(Errno::EXIST));
        for kind in [FileKind::File, FileKind::Directory, FileKind::Symlink] {
            assert_eq!(make(kind, dir.path()), Err(Errno::INVAL), "{kind:?}");
        }
    }

    /// Everybody can make pipes, so one that cannot be made is an error.
    #[test]
    fn devices_alone_are_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = File::open(dir.path()).expect("opens");
        let flags = ioctl_getflags(&open).unwrap_or(IFlags::empty());
        if let Err(error) = ioctl_setflags(&open, flags | IFlags::IMMUTABLE) {
            let reason = "directories cannot be made immutable here";
            writeln!(std::io::stderr(), "skipped: {reason}: {error}").expect("is open");
            return;
        }
        let made = [FileKind::Fifo, FileKind::CharDevice].map(|kind| make(kind, dir.path()));
        ioctl_setflags(&open, flags).expect("takes the flag back");
        assert_eq!(made, [Err(Errno::PERM), Ok(Node::NoPermission)]);
    }
}
