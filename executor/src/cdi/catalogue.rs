//! All devices that are described at one moment.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::CdiDevice;
use super::CdiDevices;
use super::CdiError;
use super::CdiRequest;
use super::description;
use super::description::Edits;
use super::description::split_kind;
use crate::HostDevices;

/// Annotations that mean something.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// Words that Go takes for true.
const TRUE: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];

/// The devices of this machine by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    devices: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    device: CdiDevice,
    /// Of the device alone.
    edits: Edits,
    /// Of all devices of the file.
    common: Arc<(PathBuf, Edits)>,
}

impl Catalogue {
    pub(super) fn read(devices: &CdiDevices) -> Self {
        let mut all = Self::default();
        for dir in &devices.dirs {
            // Those of a later folder replace those of an earlier one.
            all.devices.extend(read_dir(dir));
        }
        for known in all.devices.values_mut() {
            let (kind, _) = split_name(&known.device.name);
            let listed = |text: &String| *text == known.device.name || *text == kind;
            known.device.auto_allow |= devices.auto_allowed.iter().any(listed);
        }
        all
    }

    /// Lists the devices by name.
    pub fn list(&self) -> impl Iterator<Item = &CdiDevice> {
        self.devices.values().map(|known| &known.device)
    }

    /// Returns a device by its whole name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&CdiDevice> {
        self.devices.get(name).map(|known| &known.device)
    }

    /// Returns the whole names of what is wanted, each once.
    ///
    /// # Errors
    /// [`CdiError::NotRegistered`] for the first that is not optional and not there.
    pub fn find(&self, wanted: &[CdiRequest]) -> Result<Vec<String>, CdiError> {
        let mut found: Vec<String> = Vec::new();
        for request in wanted {
            let names = self.find_one(&request.name);
            if names.is_empty() && !request.optional {
                return Err(CdiError::NotRegistered(request.name.clone()));
            }
            for name in names {
                if !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    fn find_one(&self, wanted: &str) -> Vec<String> {
        let names = || self.devices.keys();
        let (kind, name) = split_name(wanted);
        let of_kind = |other: &&String| split_name(other).0 == kind;
        let found: Vec<String> = match (split_kind(kind), name) {
            (None, _) => Vec::new(),
            (_, "") => names().filter(of_kind).take(1).cloned().collect(),
            (_, "*") => names().filter(of_kind).cloned().collect(),
            _ => names().filter(|other| *other == wanted).cloned().collect(),
        };
        if !found.is_empty() {
            return found;
        }
        let class =
            |device: &&CdiDevice| device.annotations.get(CLASS).is_some_and(|c| c == wanted);
        self.list()
            .filter(class)
            .map(|device| device.name.clone())
            .collect()
    }

    /// Returns what a step gets that has the devices `names`, which [`find`](Self::find) returned.
    ///
    /// # Errors
    /// If one is gone, or asks for what steps cannot have.
    pub fn edits(&self, names: &[String]) -> Result<HostDevices, CdiError> {
        let mut all = HostDevices::default();
        let mut files = BTreeSet::new();
        for name in names {
            let gone = || CdiError::NotRegistered(name.clone());
            let known = self.devices.get(name).ok_or_else(gone)?;
            let unsupported = |what| CdiError::Unsupported {
                device: name.clone(),
                what,
            };
            let (file, common) = &*known.common;
            if files.insert(file) {
                all.merge(common.to_host().map_err(unsupported)?);
            }
            all.merge(known.edits.to_host().map_err(unsupported)?);
        }
        Ok(all)
    }
}

/// Splits `kind=name`; without a name it is empty.
fn split_name(name: &str) -> (&str, &str) {
    name.split_once('=').unwrap_or((name, ""))
}

/// Reads a folder; a device that two of its files describe is left out.
fn read_dir(dir: &Path) -> BTreeMap<String, Known> {
    let mut devices: BTreeMap<String, Known> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for known in files(dir).iter().flat_map(|file| read_file(file)) {
        let name = known.device.name.clone();
        if devices.insert(name.clone(), known).is_some() {
            tracing::warn!(device = name, dir = %dir.display(), "described by two files");
            twice.insert(name);
        }
    }
    devices.retain(|name, _| !twice.contains(name));
    devices
}

/// Lists the descriptions of a folder by name; there may be none.
fn files(dir: &Path) -> Vec<PathBuf> {
    let is_description = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("json" | "yaml" | "yml"))
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(is_description);
    files.sort();
    files
}

fn read_file(path: &Path) -> Vec<Known> {
    let description = match description::read(path) {
        Ok(description) => description,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a description of devices is left out");
            return Vec::new();
        }
    };
    let common = Arc::new((path.to_owned(), description.container_edits));
    let known = |device: description::Device| {
        let mut annotations = description.annotations.clone();
        annotations.extend(device.annotations);
        let auto_allow = annotations
            .get(AUTO_ALLOW)
            .is_some_and(|value| TRUE.contains(&value.as_str()));
        Known {
            device: CdiDevice {
                name: format!("{}={}", description.kind, device.name),
                auto_allow,
                annotations,
            },
            edits: device.container_edits,
            common: Arc::clone(&common),
        }
    };
    description.devices.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/gpu
annotations:
  org.mobyproject.buildkit.device.class: gpu
containerEdits:
  env: ["VENDOR=1"]
  hooks:
    - hookName: createContainer
      path: /usr/bin/vendor-hook
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/gpu0
          hostPath: /dev/vendor/0
        - path: /dev/gpuctl
          permissions: rw
      mounts:
        - hostPath: /usr/lib/vendor.so
          containerPath: /usr/lib/vendor.so
          options: [ro, nosuid, rbind, rprivate]
      additionalGids: [44]
  - name: "1"
    annotations:
      org.mobyproject.buildkit.device.autoallow: "true"
"#;

    const NET: &str = r#"{"cdiVersion": "0.3.0", "kind": "other.org/net", "devices": [
        {"name": "fast", "containerEdits": {"mounts": [
            {"hostPath": "x", "containerPath": "/x", "type": "tmpfs"}]}}]}"#;

    fn catalogue(files: &[(&str, &str)], auto_allowed: &[&str]) -> Catalogue {
        let folder = tempfile::tempdir().expect("a folder");
        let mut dirs = Vec::new();
        for (path, text) in files {
            let path = folder.path().join(path);
            let dir = path.parent().expect("below").to_owned();
            if !dirs.contains(&dir) {
                fs::create_dir(&dir).expect("a folder");
                dirs.push(dir);
            }
            fs::write(path, text).expect("written");
        }
        dirs.push("/no/such/folder".into());
        let auto_allowed = auto_allowed.iter().map(ToString::to_string).collect();
        CdiDevices { dirs, auto_allowed }.read()
    }

    fn request(name: &str, optional: bool) -> CdiRequest {
        CdiRequest {
            name: name.to_owned(),
            optional,
        }
    }

    #[test]
    fn devices_are_found_by_name_kind_class_and_star() {
        let all = catalogue(&[("a/gpu.yaml", GPU), ("a/net.json", NET)], &[]);
        let (first, second) = ("vendor.com/gpu=0", "vendor.com/gpu=1");
        for (wanted, found) in [
            (first, &[first][..]),
            ("vendor.com/gpu", &[first]),
            ("vendor.com/gpu=*", &[first, second]),
            ("gpu", &[first, second]),
            ("other.org/net=fast", &["other.org/net=fast"]),
            ("vendor.com/gpu=2", &[]),
            ("vendor.com", &[]),
            ("../../etc", &[]),
            ("", &[]),
        ] {
            let names = all.find(&[request(wanted, true), request(wanted, true)]);
            assert_eq!(names.expect("optional"), found, "{wanted}");
            let needed = all.find(&[request(wanted, false)]);
            assert_eq!(needed.is_ok(), !found.is_empty(), "{wanted}");
        }
        let error = all.find(&[request("nope", false)]).expect_err("not there");
        assert_eq!(
            error.to_string(),
            "required device \"nope\" is not registered"
        );
    }

    #[test]
    fn steps_get_what_the_description_says() {
        let all = catalogue(&[("a/gpu.yml", GPU), ("a/net.json", NET)], &[]);
        let names = ["vendor.com/gpu=0", "vendor.com/gpu=1"].map(str::to_owned);
        let edits = all.edits(&names).expect("supported");
        assert_eq!(edits.env, ["VENDOR=1"], "once for the file");
        assert_eq!(edits.groups, [44]);
        assert_eq!(edits.left_out, ["the hook /usr/bin/vendor-hook"]);
        let nodes: Vec<String> = edits
            .nodes
            .iter()
            .map(|node| format!("{} {} {}", node.path.display(), node.dest, node.access))
            .collect();
        assert_eq!(
            nodes,
            ["/dev/vendor/0 /dev/gpu0 rwm", "/dev/gpuctl /dev/gpuctl rw"]
        );
        let mount = &edits.mounts[0];
        assert!(mount.readonly && mount.nosuid && !mount.nodev && !mount.noexec);
        let error = all
            .edits(&["other.org/net=fast".to_owned()])
            .expect_err("tmpfs");
        assert_eq!(
            error.to_string(),
            "device other.org/net=fast: mounts of type \"tmpfs\" are not supported"
        );
        assert!(all.edits(&["vendor.com/gpu=9".to_owned()]).is_err());
    }

    #[test]
    fn later_folders_count_and_two_files_of_one_do_not() {
        let changed = GPU.replace("VENDOR=1", "VENDOR=2");
        let first = ["vendor.com/gpu=0".to_owned()];
        let all = catalogue(&[("a/gpu.yaml", GPU), ("b/other.yaml", &changed)], &[]);
        assert_eq!(all.edits(&first).expect("there").env, ["VENDOR=2"]);
        let all = catalogue(&[("a/gpu.yaml", GPU), ("a/other.yaml", &changed)], &[]);
        assert_eq!(all.list().count(), 0);
        let damaged = [
            ("a/bad.yaml", "kind: ["),
            (
                "a/kind.json",
                r#"{"kind": "no-vendor", "devices": [{"name": "x"}]}"#,
            ),
            ("a/README", GPU),
        ];
        assert_eq!(catalogue(&damaged, &[]).list().count(), 0);
    }

    #[test]
    fn devices_are_allowed_by_annotation_kind_and_name() {
        let files = [("a/gpu.yaml", GPU), ("a/net.json", NET)];
        let allowed = |auto_allowed: &[&str]| -> Vec<String> {
            let all = catalogue(&files, auto_allowed);
            let allowed = all.list().filter(|device| device.auto_allow);
            allowed.map(|device| device.name.clone()).collect()
        };
        assert_eq!(allowed(&[]), ["vendor.com/gpu=1"]);
        assert_eq!(
            allowed(&["vendor.com/gpu"]),
            ["vendor.com/gpu=0", "vendor.com/gpu=1"]
        );
        let named = allowed(&["other.org/net=fast"]);
        assert_eq!(named, ["other.org/net=fast", "vendor.com/gpu=1"]);
    }
}
