//! What the disk says of one name.

use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use rustix::fs::Statx;

/// What `statx` says of one name, as far as it matters here.
#[derive(Clone, Copy)]
pub(crate) struct RawStat {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    blocks: u64,
    nlink: u32,
    inode: u64,
    device: u64,
    rdev: DeviceNumber,
    atime: (i64, u32),
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl From<Statx> for RawStat {
    fn from(stat: Statx) -> Self {
        Self {
            mode: u32::from(stat.stx_mode),
            owner: (stat.stx_uid, stat.stx_gid),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            nlink: stat.stx_nlink,
            inode: stat.stx_ino,
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            rdev: DeviceNumber {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            atime: (stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec),
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

impl RawStat {
    /// What the file system has no name for is a file.
    pub(crate) fn kind(&self) -> FileKind {
        FileKind::of_mode(self.mode).unwrap_or(FileKind::File)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// A character device 0:0, which overlayfs reads as "deleted".
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == FileKind::CharDevice && self.rdev() == DeviceNumber::default()
    }

    /// Kind and permissions as one number (`st_mode`).
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        self.owner
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.blocks.saturating_mul(512)
    }

    pub(crate) fn nlink(&self) -> u64 {
        u64::from(self.nlink)
    }

    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    pub(crate) fn rdev(&self) -> DeviceNumber {
        self.rdev
    }

    pub(crate) fn mtime_ns(&self) -> i128 {
        i128::from(self.mtime.0) * 1_000_000_000 + i128::from(self.mtime.1)
    }

    /// Seconds and nanoseconds of the last access.
    pub(crate) fn atime(&self) -> (i64, u32) {
        self.atime
    }

    /// Seconds and nanoseconds of the last change of the content.
    pub(crate) fn mtime(&self) -> (i64, u32) {
        self.mtime
    }

    /// The same file, owned by somebody else.
    pub(crate) fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// The same inode as something else: with another kind and permissions (`st_mode`), owner and device
    /// number.
    pub(crate) fn described_as(
        mut self,
        mode: u32,
        owner: (u32, u32),
        device: DeviceNumber,
    ) -> Self {
        (self.mode, self.owner, self.rdev) = (mode, owner, device);
        self
    }

    /// The same directory once it is removed.
    pub(crate) fn without_names(mut self) -> Self {
        self.nlink = 0;
        self
    }

    /// The same file with one name less.
    pub(crate) fn with_one_name_less(mut self) -> Self {
        self.nlink = self.nlink.saturating_sub(1);
        self
    }

    /// Seconds and nanoseconds of the last change, which nobody can set.
    pub(crate) fn ctime(&self) -> (i64, u32) {
        self.ctime
    }
}
