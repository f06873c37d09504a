//! POSIX ACLs: what the kernel decides by them, and what becomes of them.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Owners;
use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::World;
use crate::support::host_path;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// Users, each with a group of the same number.
const OWNER: u32 = 4001;
const FRIEND: u32 = 4002;
const STRANGER: u32 = 4003;

/// Whom a line of a list is about: the numbers are those of the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Who {
    Owner = 1,
    User = 2,
    Group = 4,
    Mask = 16,
    Others = 32,
}

use Who::Group;
use Who::Mask;
use Who::Others;
use Who::Owner;
use Who::User;

/// A list in which `FRIEND` is the only named user.
type List<'a> = &'a [(Who, u16)];

/// Packs a list: a version, and 8 bytes for each line.
fn packed(list: List<'_>) -> Vec<u8> {
    let lines = list.iter().flat_map(|&(who, permissions)| {
        let id = if who == User { FRIEND } else { u32::MAX };
        let (who, permissions) = ((who as u16).to_le_bytes(), permissions.to_le_bytes());
        [who, permissions]
            .concat()
            .into_iter()
            .chain(id.to_le_bytes())
    });
    2_u32.to_le_bytes().into_iter().chain(lines).collect()
}

fn set(path: &Path, name: &str, list: List<'_>) {
    rustix::fs::setxattr(path, name, &packed(list), XattrFlags::empty()).unwrap();
}

fn check(path: &Path, name: &str, list: List<'_>) {
    let mut value = [0; 256];
    let length = rustix::fs::getxattr(path, name, &mut value).unwrap();
    assert_eq!(&value[..length], packed(list), "{}", path.display());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Works on a thread that is `user` for file systems, with a umask of its own.
fn as_user<T: Send>(user: u32, umask: u32, work: impl FnOnce() -> T + Send) -> T {
    let other = || {
        nix::sched::unshare(CloneFlags::CLONE_FS).unwrap();
        rustix::process::umask(Mode::from_raw_mode(umask));
        nix::unistd::setfsgid(user.into());
        nix::unistd::setfsuid(user.into());
        work()
    };
    std::thread::scope(|scope| scope.spawn(other).join().unwrap())
}

/// Opens `name` in the root of the mount as `user`.
fn open_as(user: u32, mount: &DetachedMount, name: &str, flags: OFlags) -> Result<File, Errno> {
    let mode = Mode::from_raw_mode(0o666);
    as_user(user, 0o077, || {
        rustix::fs::openat(&mount.fd, name, flags | OFlags::CLOEXEC, mode).map(File::from)
    })
}

/// Says whether lists mean anything: with one id everything belongs to the only user.
fn applies(world: &World) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let ids = map.split_ascii_whitespace().nth(2);
    ids != Some("1") && world.fixture.store.owners() == Owners::Real
}

pub(super) fn lists_say_who_may_open_a_file(world: &World) {
    if !applies(world) {
        return;
    }
    let open = |user, mount: &DetachedMount, flags| open_as(user, mount, "f", flags).err();
    let lower = world.step(&LayerStack::empty(), |mount| {
        let file = host_path(&mount.fd).join("f");
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::chown(&file, Some(OWNER), Some(OWNER)).unwrap();
        chmod(&file, 0o600);
        assert_eq!(open(FRIEND, mount, OFlags::RDONLY), Some(Errno::ACCESS));
        let list = [(Owner, 6), (User, 4), (Group, 0), (Mask, 4), (Others, 0)];
        set(&file, ACCESS, &list);
        assert_eq!(mode(&file), 0o640, "the group's place shows the mask");
        assert_eq!(open(FRIEND, mount, OFlags::RDONLY), None);
        assert_eq!(open(FRIEND, mount, OFlags::RDWR), Some(Errno::ACCESS));
        assert_eq!(open(STRANGER, mount, OFlags::RDONLY), Some(Errno::ACCESS));
    });
    world.step(&lower, |mount| {
        let file = host_path(&mount.fd).join("f");
        assert_eq!(
            open(FRIEND, mount, OFlags::RDONLY),
            None,
            "of a lower layer"
        );
        assert_eq!(open(STRANGER, mount, OFlags::RDONLY), Some(Errno::ACCESS));
        chmod(&file, 0o600);
        let list = [(Owner, 6), (User, 4), (Group, 0), (Mask, 0), (Others, 0)];
        check(&file, ACCESS, &list);
        assert_eq!(open(FRIEND, mount, OFlags::RDONLY), Some(Errno::ACCESS));
        chmod(&file, 0o660);
        assert_eq!(open(FRIEND, mount, OFlags::RDONLY), None, "copied up");
        rustix::fs::removexattr(&file, ACCESS).unwrap();
        assert_eq!(open(FRIEND, mount, OFlags::RDONLY), Some(Errno::ACCESS));
    });
}

pub(super) fn what_is_made_in_a_directory_gets_its_list(world: &World) {
    if !applies(world) {
        return;
    }
    let default = [(Owner, 7), (User, 7), (Group, 5), (Mask, 7), (Others, 0)];
    let for_files = [(Owner, 6), (User, 7), (Group, 5), (Mask, 6), (Others, 0)];
    let lower = world.step(&LayerStack::empty(), |mount| {
        let dir = host_path(&mount.fd).join("dir");
        fs::create_dir(&dir).unwrap();
        chmod(&dir, 0o777);
        set(&dir, DEFAULT, &default);
    });
    world.step(&lower, |mount| {
        let dir = host_path(&mount.fd).join("dir");
        for (user, name) in [(0, "dir/ours"), (OWNER, "dir/theirs")] {
            let made = open_as(user, mount, name, OFlags::CREATE | OFlags::RDWR).unwrap();
            let metadata = made.metadata().unwrap();
            assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (user, 0o660));
            check(&host_path(&mount.fd).join(name), ACCESS, &for_files);
        }
        assert_eq!(open_as(FRIEND, mount, "dir/ours", OFlags::RDWR).err(), None);
        let (sub, fifo) = (dir.join("sub"), dir.join("fifo"));
        as_user(0, 0o077, || {
            fs::create_dir(&sub).unwrap();
            nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_retain(0o666)).unwrap();
        });
        check(&sub, ACCESS, &default);
        check(&sub, DEFAULT, &default);
        check(&fifo, ACCESS, &for_files);
        assert_eq!((mode(&sub), mode(&fifo)), (0o770, 0o660));
        // Without a list the umask counts again.
        rustix::fs::removexattr(&dir, DEFAULT).unwrap();
        let plain = open_as(0, mount, "dir/plain", OFlags::CREATE | OFlags::RDWR).unwrap();
        assert_eq!(plain.metadata().unwrap().mode() & 0o7777, 0o600);
        set(&dir, DEFAULT, &default);
        open_as(0, mount, "dir/again", OFlags::CREATE | OFlags::RDWR).unwrap();
        check(&dir.join("again"), ACCESS, &for_files);
    });
}

pub(super) fn the_umask_takes_permissions_away(world: &World) {
    world.step(&LayerStack::empty(), |mount| {
        let file = open_as(0, mount, "f", OFlags::CREATE | OFlags::RDWR).unwrap();
        let root = host_path(&mount.fd);
        let (dir, fifo) = (root.join("dir"), root.join("fifo"));
        as_user(0, 0o027, || {
            fs::create_dir(&dir).unwrap();
            nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_retain(0o666)).unwrap();
        });
        let modes = (
            file.metadata().unwrap().mode() & 0o7777,
            mode(&dir),
            mode(&fifo),
        );
        assert_eq!(modes, (0o600, 0o750, 0o640));
    });
}

pub(super) fn a_list_from_outside_the_group_ends_its_rights(world: &World) {
    if !applies(world) {
        return;
    }
    let list = packed(&[(Owner, 7), (User, 5), (Group, 5), (Mask, 5), (Others, 0)]);
    world.step(&LayerStack::empty(), |mount| {
        for (user, left) in [(0, 0o2750), (OWNER, 0o0750)] {
            let file = host_path(&mount.fd).join("f");
            fs::write(&file, "text").unwrap();
            std::os::unix::fs::chown(&file, Some(OWNER), Some(STRANGER)).unwrap();
            chmod(&file, 0o2750);
            let open = open_as(user, mount, "f", OFlags::RDONLY).unwrap();
            as_user(user, 0, || {
                rustix::fs::fsetxattr(&open, ACCESS, &list, XattrFlags::empty()).unwrap();
            });
            assert_eq!(mode(&file), left, "set by {user}");
        }
    });
}
