//! A tree with all that a user with a single id cannot really have.

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::support::write;

/// `cap_net_raw=ep`, as root of the machine stores it.
pub(super) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) const CAPABILITY_NAME: &[u8] = b"security.capability";

pub(super) fn owned_by(uid: u32, gid: u32) -> MetadataChange {
    MetadataChange {
        owner: Some((uid, gid)),
        ..MetadataChange::default()
    }
}

pub(super) fn with_mode(mode: u32) -> MetadataChange {
    MetadataChange {
        mode: Some(mode),
        ..MetadataChange::default()
    }
}

pub(super) fn with_xattr(name: &[u8], value: &[u8]) -> MetadataChange {
    MetadataChange {
        xattrs: Some([(name.to_vec(), value.to_vec())].into()),
        ..MetadataChange::default()
    }
}

pub(super) fn node(kind: FileKind, mode: u32, major: u32, minor: u32) -> Stat {
    Stat {
        device: DeviceNumber { major, minor },
        ..Stat::new(kind, mode)
    }
}

/// Writes everything that a user cannot really have, and its neighbours.
pub(super) fn sample(root: &WriteDir) -> Result<(), SnapshotError> {
    programs(&root.make_dir(b"bin", 0o755)?)?;
    let home = root.make_dir(b"home", 0o755)?;
    let me = home.make_dir(b"me", 0o700)?;
    me.set_own_metadata(&owned_by(1000, 1000))?;
    people(&me)?;
    devices(&root.make_dir(b"dev", 0o755)?)?;
    let staff = root.make_dir(b"staff", 0o755)?;
    let change = MetadataChange {
        mode: Some(0o2775),
        ..owned_by(0, 50)
    };
    staff.set_own_metadata(&change)?;
    write(&staff, "made", "of the group")?;
    staff.make_dir(b"sub", 0o755)?;
    staff.symlink(b"link", b"made")?;
    root.make_dir(b"tmp", 0o1777)?;
    Ok(())
}

fn programs(bin: &WriteDir) -> Result<(), SnapshotError> {
    write(bin, "su", "rights")?;
    bin.set_metadata(b"su", &with_mode(0o4755))?;
    write(bin, "ping", "powers")?;
    bin.set_metadata(b"ping", &with_xattr(CAPABILITY_NAME, CAPABILITY))?;
    write(bin, "given", "neither")?;
    bin.set_metadata(b"given", &with_mode(0o6755))?;
    bin.set_metadata(b"given", &with_xattr(CAPABILITY_NAME, CAPABILITY))?;
    bin.set_metadata(b"given", &owned_by(u32::MAX, 7))?;
    bin.symlink(b"sh", b"su")
}

fn people(me: &WriteDir) -> Result<(), SnapshotError> {
    write(me, "note", "mine")?;
    let change = MetadataChange {
        mode: Some(0o640),
        xattrs: Some(
            [
                (b"user.comment".to_vec(), b"seen".to_vec()),
                (b"user.lamina.stat".to_vec(), b"100644 5 5".to_vec()),
                (b"trusted.level".to_vec(), b"high".to_vec()),
            ]
            .into(),
        ),
        ..owned_by(1000, 1000)
    };
    me.set_metadata(b"note", &change)?;
    me.link_from(b"again", &me.lookup(b"note")?.unwrap())?;
    write(me, "sealed", "nobody's")?;
    let change = MetadataChange {
        mode: Some(0),
        ..owned_by(7, u32::MAX - 1)
    };
    me.set_metadata(b"sealed", &change)?;
    me.symlink(b"link", b"../../bin/su")?;
    me.set_metadata(b"link", &owned_by(1000, 1000))
}

fn devices(dev: &WriteDir) -> Result<(), SnapshotError> {
    for (name, stat, owner) in [
        ("null", node(FileKind::CharDevice, 0o666, 1, 3), (0, 0)),
        ("disk", node(FileKind::BlockDevice, 0o660, 8, 300), (0, 6)),
        ("pipe", node(FileKind::Fifo, 0o600, 0, 0), (5, 5)),
        ("socket", node(FileKind::Socket, 0o755, 0, 0), (0, 0)),
    ] {
        dev.make_node(name.as_bytes(), &stat)?;
        if owner != (0, 0) {
            dev.set_metadata(name.as_bytes(), &owned_by(owner.0, owner.1))?;
        }
    }
    dev.link_from(b"zero", &dev.lookup(b"null")?.unwrap())
}
