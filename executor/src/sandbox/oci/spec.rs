//! The OCI runtime specification of a step.

use std::path::Path;

use rustix::mount::MountAttrFlags;
use serde_json::Value;
use serde_json::json;

use super::super::Step;
use super::super::capabilities;
use super::super::prepare::Prepared;
use super::super::prepare::PreparedMount;
use super::super::proc;
use crate::seccomp;
use crate::wire::Description;
use crate::wire::Devices;
use crate::wire::Network;

/// Writes the specification for a bundle at `bundle`. Without a `cgroup`, control groups are left
/// out of it.
pub(super) fn write(step: &Step, prepared: &Prepared, bundle: &Path, cgroup: &str) -> Value {
    let description = &step.description;
    json!({
        "ociVersion": "1.0.2",
        "hostname": description.hostname,
        "root": { "path": bundle.join("rootfs"), "readonly": description.root_readonly },
        "process": process(description),
        "mounts": mounts(description, prepared, bundle, cgroup),
        "linux": linux(description, cgroup),
    })
}

/// Writes what is about the process alone.
pub(super) fn process(description: &Description) -> Value {
    let limits: Vec<Value> = description
        .limits
        .iter()
        .map(|limit| {
            json!({
                "type": format!("RLIMIT_{}", limit.name.to_uppercase()),
                "soft": limit.soft.unwrap_or(u64::MAX),
                "hard": limit.hard.unwrap_or(u64::MAX),
            })
        })
        .collect();
    let mut names = capabilities::names(description.confined);
    if description.devices == Devices::NoDev {
        // Nodes in the /dev of another runtime would work.
        names.retain(|name| name != "CAP_MKNOD");
    }
    let mut sets = json!({ "bounding": names, "permitted": names, "effective": names });
    if !description.confined {
        sets["inheritable"] = json!(names);
        sets["ambient"] = json!(names);
    }
    json!({
        "terminal": description.terminal,
        "args": description.args,
        "env": description.env,
        "cwd": description.cwd,
        "user": {
            "uid": description.user.uid,
            "gid": description.user.gid,
            "additionalGids": description.user.groups,
        },
        "capabilities": sets,
        "rlimits": limits,
        "noNewPrivileges": false,
    })
}

fn mounts(
    description: &Description,
    prepared: &Prepared,
    bundle: &Path,
    cgroup: &str,
) -> Vec<Value> {
    let mut all: Vec<Value> = system_mounts(description.confined)
        .into_iter()
        .filter(|(dest, ..)| !prepared.has(dest))
        .filter(|(_, kind, _)| *kind != "cgroup" || !cgroup.is_empty())
        .map(|(dest, kind, options)| {
            json!({ "destination": dest, "type": kind, "source": kind, "options": options })
        })
        .collect();
    for (number, mount) in prepared.mounts.iter().enumerate() {
        all.push(given(mount, &bundle.join(number.to_string())));
    }
    all
}

/// Destination, kind and options of the mounts that every step has.
fn system_mounts(confined: bool) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let access = if confined { "ro" } else { "rw" };
    let inert = ["nosuid", "noexec", "nodev"];
    vec![
        ("/proc", "proc", inert.to_vec()),
        (
            "/dev",
            "tmpfs",
            vec!["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        (
            "/dev/pts",
            "devpts",
            vec![
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        ),
        (
            "/dev/shm",
            "tmpfs",
            [&inert[..], &["mode=1777", "size=65536k"]].concat(),
        ),
        ("/dev/mqueue", "mqueue", inert.to_vec()),
        ("/sys", "sysfs", [&inert[..], &[access]].concat()),
        ("/sys/fs/cgroup", "cgroup", [&inert[..], &[access]].concat()),
    ]
}

fn given(mount: &PreparedMount, place: &Path) -> Value {
    let mut options: Vec<String> = [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, "ro"),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, "nosuid"),
        (MountAttrFlags::MOUNT_ATTR_NODEV, "nodev"),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, "noexec"),
    ]
    .into_iter()
    .filter(|(flag, _)| mount.attributes.contains(*flag))
    .map(|(_, option)| option.to_owned())
    .collect();
    let dest = mount.dest.to_string();
    if mount.content.is_some() {
        options.push("rbind".to_owned());
        return json!({ "destination": dest, "type": "bind", "source": place, "options": options });
    }
    options.extend(mount.size_bytes.map(|size| format!("size={size}")));
    json!({ "destination": dest, "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn linux(description: &Description, cgroup: &str) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if description.network == Network::Loopback {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let mut linux = json!({ "namespaces": namespaces });
    if !cgroup.is_empty() {
        linux["cgroupsPath"] = json!(cgroup);
    }
    if description.confined {
        linux["maskedPaths"] = json!(proc::masked_paths());
        linux["readonlyPaths"] = json!(proc::read_only_paths());
        linux["seccomp"] = seccomp::oci_profile();
    }
    linux
}
