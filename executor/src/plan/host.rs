//! Mounting files of the host (rows EXC-35 and EXC-38).

use std::os::fd::OwnedFd;
use std::path::Path;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::sources::Sources;
use super::sources::plain;
use crate::DeviceNode;
use crate::ExecError;
use crate::HostDevices;
use crate::HostMount;
use crate::cgroup::Access;
use crate::cgroup::DeviceRule;
use crate::cgroup::NodeKind;
use crate::error::Doing;
use crate::sandbox;
use crate::stubs::Stub;
use crate::wire::Identity;
use crate::wire::Mount;

/// Opens a file of the host. Links are the administrator's own, and followed.
fn open(path: &Path) -> Result<(OwnedFd, rustix::fs::Stat), ExecError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = opened.at(path.display())?;
    let stat = rustix::fs::fstat(&file).at(path.display())?;
    Ok((file, stat))
}

/// Returns what control groups are to allow for `nodes`.
///
/// # Errors
/// If one is not there, or no device.
pub(super) fn rules(nodes: &[DeviceNode]) -> Result<Vec<DeviceRule>, ExecError> {
    nodes.iter().map(rule).collect()
}

fn rule(node: &DeviceNode) -> Result<DeviceRule, ExecError> {
    let (_, stat) = open(&node.path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => NodeKind::Character,
        FileType::BlockDevice => NodeKind::Block,
        _ => return Err(ExecError::NoDevice(node.path.clone())),
    };
    let may = |letter| node.access.contains(letter);
    Ok(DeviceRule {
        kind,
        major: Some(rustix::fs::major(stat.st_rdev)),
        minor: Some(rustix::fs::minor(stat.st_rdev)),
        access: Access {
            read: may('r'),
            write: may('w'),
            make: may('m'),
        },
    })
}

/// Adds the variables and groups of `devices`.
pub(super) fn apply(devices: &HostDevices, env: &mut Vec<String>, user: &mut Identity) {
    for variable in &devices.env {
        let name = variable.split('=').next().unwrap_or_default();
        env.retain(|other| other.split('=').next() != Some(name));
        env.push(variable.clone());
    }
    user.groups.extend(&devices.groups);
}

impl Sources<'_> {
    /// Adds what `devices` bring, on top of all other mounts.
    pub(super) fn add_devices(&mut self, devices: &HostDevices) -> Result<(), ExecError> {
        for node in &devices.nodes {
            self.add_host(&HostMount {
                path: node.path.clone(),
                dest: node.dest.clone(),
                readonly: false,
                nosuid: true,
                nodev: false,
                noexec: true,
            })?;
        }
        devices
            .mounts
            .iter()
            .try_for_each(|mount| self.add_host(mount))
    }

    /// Adds a program of the host at its own path.
    pub(super) fn add_emulator(&mut self, program: &Path) -> Result<(), ExecError> {
        self.add_host(&HostMount {
            path: program.to_owned(),
            dest: program.to_string_lossy().into_owned(),
            readonly: true,
            nosuid: true,
            nodev: true,
            noexec: false,
        })
    }

    fn add_host(&mut self, mount: &HostMount) -> Result<(), ExecError> {
        let (file, stat) = open(&mount.path)?;
        let stub = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Stub::Directory,
            _ => Stub::File,
        };
        let clone = sandbox::clone_tree(&file).doing("clone a mount of the host")?;
        let source = self.send(clone, String::new());
        let made = Mount {
            readonly: mount.readonly,
            nosuid: mount.nosuid,
            nodev: mount.nodev,
            noexec: mount.noexec,
            ..plain(source)
        };
        self.push_as_is(RootedPath::new(&mount.dest), stub, made);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_replace_those_of_the_step() {
        let devices = HostDevices {
            env: vec!["A=new".to_owned(), "C=3".to_owned()],
            groups: vec![7],
            ..HostDevices::default()
        };
        let mut env = vec!["A=old".to_owned(), "AB=2".to_owned()];
        let mut user = Identity {
            uid: 0,
            gid: 0,
            groups: vec![0],
        };
        apply(&devices, &mut env, &mut user);
        assert_eq!(env, ["AB=2", "A=new", "C=3"]);
        assert_eq!(user.groups, [0, 7]);
    }

    #[test]
    fn rules_come_from_the_nodes() {
        let node = |path: &str| DeviceNode {
            path: path.into(),
            dest: path.to_owned(),
            access: "rw".to_owned(),
        };
        let rule = rules(&[node("/dev/zero")]).expect("a device");
        assert_eq!(rule[0].to_string(), "c 1:5 rw");
        for (path, error) in [
            ("/etc/passwd", "/etc/passwd is no device"),
            ("/dev/no-such", "/dev/no-such: no such file or directory"),
        ] {
            let refused = rules(&[node(path)]).expect_err(path);
            assert_eq!(refused.to_string(), error);
        }
    }
}
