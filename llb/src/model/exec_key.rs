//! How an exec op enters the cache key (rows EXC-28, EXC-39).
//!
//! Left out of the op's own part: addresses of extra hosts, proxy variables, and id and sharing of
//! cache mounts unless they are the form that Dockerfiles use. Selectors belong to the inputs.

use std::collections::BTreeSet;

use lamina_proto::pb;
use lamina_snapshotter::Selection;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;

use super::InputUse;
use super::Operand;
use super::SpecError;
use super::input_operand;
use super::mount::ROOT;
use crate::key::KeyHasher;

/// Returns the op's own part of the key.
pub(super) fn key(op: &pb::ExecOp, platform: &Platform) -> Digest {
    let mut op = op.clone();
    if let Some(meta) = &mut op.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut op.mounts {
        mount.selector.clear();
        clear_cache_options(mount);
    }
    if matches!(&op.mounts[..], [mount] if is_plain_root(mount)) {
        op.mounts.clear();
    }
    KeyHasher::new("exec")
        .message(&op)
        .platform(platform)
        .finish()
}

/// Which directory a cache mount gets does not decide the result, but the form that Dockerfiles
/// use (the destination as id, perhaps below a namespace) has always been part of the key.
fn clear_cache_options(mount: &mut pb::Mount) {
    let Some(options) = &mut mount.cache_opt else {
        return;
    };
    let in_namespace = options.id.split_once('/').map(|(_, rest)| rest);
    let dockerfile_form = options.sharing == i32::from(pb::CacheSharingOpt::Shared)
        && (options.id == mount.dest || in_namespace == Some(mount.dest.as_str()));
    if !dockerfile_form {
        *options = pb::CacheOpt::default();
    }
}

/// The one mount of an ordinary step; what it is follows from the inputs.
fn is_plain_root(mount: &pb::Mount) -> bool {
    mount.dest == ROOT
        && mount.output >= 0
        && !mount.readonly
        && mount.mount_type == i32::from(pb::MountType::Bind)
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

/// Returns for each input how it enters the key.
pub(super) fn input_uses(op: &pb::ExecOp, inputs: usize) -> Result<Vec<InputUse>, SpecError> {
    let mut uses: Vec<MountedInput> = vec![MountedInput::default(); inputs];
    for mount in &op.mounts {
        let takes_input = matches!(
            pb::MountType::try_from(mount.mount_type),
            Ok(pb::MountType::Bind | pb::MountType::Cache)
        );
        if !takes_input {
            continue;
        }
        if let Operand::Input(input) = input_operand(mount.input, inputs)? {
            uses[input].add(mount)?;
        }
    }
    Ok(uses.into_iter().map(MountedInput::finish).collect())
}

/// All mounts of one input.
#[derive(Clone, Default)]
struct MountedInput {
    /// In the order of the mounts.
    selectors: Vec<RootedPath>,
    by_content: bool,
    /// Some mount writes to a part of the input into an output: content of parts is not enough.
    unsafe_part: bool,
}

impl MountedInput {
    fn add(&mut self, mount: &pb::Mount) -> Result<(), SpecError> {
        let selector = RootedPath::new(&mount.selector);
        // What a step writes to a selected part is stored together with the unselected rest, so
        // equal parts must not make such a step a hit.
        let safe = mount.output < 0 || mount.readonly || selector.is_root();
        self.unsafe_part |= !safe;
        self.selectors.push(selector);
        let unknown = |_| SpecError::UnknownValue {
            what: "mount content cache",
            value: mount.content_cache,
        };
        let wanted = pb::MountContentCache::try_from(mount.content_cache).map_err(unknown)?;
        self.by_content = match wanted {
            pb::MountContentCache::Off => false,
            pb::MountContentCache::On if !safe => {
                return Err(SpecError::UnsafeContentCache {
                    dest: mount.dest.clone(),
                });
            }
            pb::MountContentCache::On => true,
            // Hashing whole root file systems costs more than it gains.
            pb::MountContentCache::Default => safe && mount.dest != ROOT,
        };
        Ok(())
    }

    fn finish(self) -> InputUse {
        if self.selectors.is_empty() {
            return InputUse::default();
        }
        let by_content = self.by_content && !self.unsafe_part;
        InputUse {
            selector: Some(self.selector_digest()),
            content: by_content.then(|| self.selections()),
            required: Vec::new(),
        }
    }

    fn selector_digest(&self) -> Digest {
        let mut hasher = Sha256Hasher::new();
        for selector in &self.selectors {
            hasher.update_field(selector.as_bytes());
        }
        hasher.finish()
    }

    /// The selected paths without those below others; the whole tree if it is among them.
    fn selections(&self) -> Vec<Selection> {
        let paths: BTreeSet<&RootedPath> = self.selectors.iter().collect();
        let covered = |path: &RootedPath| ancestors(path).any(|above| paths.contains(&above));
        let select = |path: &RootedPath| Selection {
            path: path.as_bytes().to_vec(),
            wildcard: false,
            follow_links: !path.is_root(),
            include: Vec::new(),
            exclude: Vec::new(),
        };
        paths
            .iter()
            .filter(|path| !covered(path))
            .map(|path| select(path))
            .collect()
    }
}

fn ancestors(path: &RootedPath) -> impl Iterator<Item = RootedPath> {
    std::iter::successors(path.parent(), RootedPath::parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(dest: &str, selector: &str, output: i64) -> pb::Mount {
        pb::Mount {
            dest: dest.to_owned(),
            selector: selector.to_owned(),
            output,
            ..pb::Mount::default()
        }
    }

    fn with_mounts(mounts: Vec<pb::Mount>) -> pb::ExecOp {
        pb::ExecOp {
            meta: Some(pb::Meta::default()),
            mounts,
            ..pb::ExecOp::default()
        }
    }

    fn content_paths(mounts: Vec<pb::Mount>) -> Option<Vec<String>> {
        let uses = input_uses(&with_mounts(mounts), 1).expect("valid");
        let path = |selection: &Selection| String::from_utf8_lossy(&selection.path).into_owned();
        let content = uses[0].content.as_ref();
        content.map(|selections| selections.iter().map(path).collect())
    }

    #[test]
    fn content_keys_are_used_where_they_are_safe() {
        let readonly = |mount: pb::Mount| pb::Mount {
            readonly: true,
            ..mount
        };
        let off = |mount: pb::Mount| pb::Mount {
            content_cache: pb::MountContentCache::Off.into(),
            ..mount
        };
        for (name, mounts, paths) in [
            ("root", vec![mount("/", "", 0)], None),
            ("read-only root", vec![readonly(mount("/", "", 0))], None),
            ("no output", vec![mount("/m", "a", -1)], Some(vec!["/a"])),
            ("whole tree", vec![mount("/m", "", 0)], Some(vec!["/"])),
            ("part with output", vec![mount("/m", "a", 0)], None),
            (
                "read-only part",
                vec![readonly(mount("/m", "a", 0))],
                Some(vec!["/a"]),
            ),
            ("off", vec![off(mount("/m", "a", -1))], None),
            (
                "paths below others fall out",
                vec![
                    mount("/m", "a", -1),
                    mount("/n", "a/b", -1),
                    mount("/o", "ab", -1),
                ],
                Some(vec!["/a", "/ab"]),
            ),
            (
                "a written part spoils the rest",
                vec![mount("/m", "a", 0), mount("/n", "b", -1)],
                None,
            ),
        ] {
            let paths =
                paths.map(|paths: Vec<&str>| paths.into_iter().map(str::to_owned).collect());
            assert_eq!(content_paths(mounts), paths, "{name}");
        }
    }

    #[test]
    fn forced_content_keys_are_refused_where_unsafe() {
        let forced = pb::Mount {
            content_cache: pb::MountContentCache::On.into(),
            ..mount("/m", "a", 0)
        };
        let error = input_uses(&with_mounts(vec![forced]), 1).expect_err("refused");
        assert!(
            matches!(error, SpecError::UnsafeContentCache { .. }),
            "{error}"
        );
    }

    #[test]
    fn some_fields_stay_out_of_the_key() {
        let platform = Platform::new("linux", "amd64", "");
        let key_of = |change: &dyn Fn(&mut pb::ExecOp)| {
            let mut cache = mount("/c", "", -1);
            cache.cache_opt = Some(pb::CacheOpt::default());
            let mut op = with_mounts(vec![mount("/", "", 0), cache]);
            op.meta.as_mut().expect("given").extra_hosts = vec![pb::HostIp::default()];
            change(&mut op);
            key(&op, &platform)
        };
        let set_cache = |op: &mut pb::ExecOp, id: &str, sharing: pb::CacheSharingOpt| {
            op.mounts[1].cache_opt = Some(pb::CacheOpt {
                id: id.to_owned(),
                sharing: sharing.into(),
            });
        };
        let base = key_of(&|_| ());
        let shared = pb::CacheSharingOpt::Shared;
        for (name, equal, changed) in [
            (
                "selector",
                true,
                key_of(&|op| op.mounts[0].selector = "a".to_owned()),
            ),
            (
                "cache id",
                true,
                key_of(&|op| set_cache(op, "id", pb::CacheSharingOpt::Locked)),
            ),
            (
                "dockerfile cache id",
                false,
                key_of(&|op| set_cache(op, "/c", shared)),
            ),
            (
                "namespaced cache id",
                false,
                key_of(&|op| set_cache(op, "ns//c", shared)),
            ),
            ("network", false, key_of(&|op| op.network = 1)),
            (
                "address of a host",
                true,
                key_of(&|op| op.meta.as_mut().expect("given").extra_hosts[0].ip = "1.2.3.4".into()),
            ),
            (
                "name of a host",
                false,
                key_of(&|op| op.meta.as_mut().expect("given").extra_hosts[0].host = "h".into()),
            ),
            (
                "proxy",
                true,
                key_of(&|op| {
                    op.meta.as_mut().expect("given").proxy_env = Some(pb::ProxyEnv::default())
                }),
            ),
        ] {
            assert_eq!(base == changed, equal, "{name}");
        }
    }
}
