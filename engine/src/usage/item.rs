//! One thing that takes space (rows CTL-06, CTL-08, CTL-09).

use std::time::SystemTime;

use lamina_llb::CacheMountUsage;
use lamina_proto::control::UsageRecord;
use lamina_snapshotter::LayerUsage;
use lamina_sources::GitRepositoryUsage;
use lamina_types::Digest;
use lamina_types::LayerId;

use super::uses::LayerUse;
use crate::filter::Fields;
use crate::status::timestamp;

/// Types of records, as clients know them.
const REGULAR: &str = "regular";
const LOCAL: &str = "source.local";
const GIT: &str = "source.git.checkout";
const CACHE_MOUNT: &str = "exec.cachemount";
/// Only taken when everything is.
const KEPT_TYPES: [&str; 2] = ["internal", "frontend"];

/// How the descriptions of layers of such sources begin.
const LOCAL_PREFIX: &str = "local source for ";
const GIT_PREFIX: &str = "git snapshot for ";
/// How those of repositories begin.
const REPOSITORY_PREFIX: &str = "shared git repo for ";

/// Digits of a repository's key that its id has.
const REPOSITORY_DIGITS: usize = 20;

/// Something that may be removed.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: ItemId,
    pub(super) record: UsageRecord,
    /// When it was last used, or made if it never was.
    pub(super) idle_since: SystemTime,
    /// Blobs in the content store that stand for the layer.
    pub(super) blobs: Vec<Digest>,
}

/// Names what is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ItemId {
    Layer(LayerId),
    CacheMount(u64),
    Repository(Digest),
}

impl Item {
    /// Describes a layer; `stored` are its blobs that are there, with their sizes.
    pub(super) fn layer(
        layer: LayerUsage,
        parent: Option<LayerId>,
        uses: Option<LayerUse>,
        stored: &[(Digest, u64)],
    ) -> Self {
        let record_type = match &layer.description {
            text if text.starts_with(LOCAL_PREFIX) => LOCAL,
            text if text.starts_with(GIT_PREFIX) => GIT,
            _ => REGULAR,
        };
        let blob_bytes: u64 = stored.iter().map(|(_, bytes)| bytes).sum();
        let used = uses.map(LayerUse::last);
        Self {
            id: ItemId::Layer(layer.id),
            record: UsageRecord {
                id: layer.id.to_string(),
                mutable: false,
                in_use: layer.in_use,
                size: number(layer.bytes.saturating_add(blob_bytes)),
                created_at: Some(timestamp(layer.created)),
                last_used_at: used.map(timestamp),
                usage_count: number(uses.map_or(0, |uses| uses.count)),
                description: layer.description,
                record_type: record_type.to_owned(),
                shared: false,
                parents: parent.iter().map(LayerId::to_string).collect(),
                ..UsageRecord::default()
            },
            idle_since: used.unwrap_or(layer.created),
            blobs: stored.iter().map(|(digest, _)| *digest).collect(),
        }
    }

    /// Describes a cache directory.
    pub(super) fn cache_mount(mount: CacheMountUsage) -> Self {
        let uses = mount.uses;
        Self {
            id: ItemId::CacheMount(mount.number),
            record: UsageRecord {
                id: format!("cache-{}", mount.number),
                mutable: true,
                in_use: mount.in_use,
                size: number(mount.bytes.unwrap_or(0)),
                created_at: Some(timestamp(uses.created)),
                last_used_at: uses.last.map(timestamp),
                usage_count: number(uses.count),
                description: format!("cached mount {}", mount.id),
                record_type: CACHE_MOUNT.to_owned(),
                ..UsageRecord::default()
            },
            idle_since: uses.last.unwrap_or(uses.created),
            blobs: Vec::new(),
        }
    }

    /// Describes what was fetched of a remote.
    pub(super) fn repository(repository: GitRepositoryUsage) -> Self {
        let name = repository.key.hex();
        Self {
            id: ItemId::Repository(repository.key),
            record: UsageRecord {
                id: format!("git-{}", &name[..REPOSITORY_DIGITS]),
                mutable: true,
                in_use: repository.in_use,
                size: number(repository.bytes),
                created_at: Some(timestamp(repository.created)),
                last_used_at: Some(timestamp(repository.last_used)),
                usage_count: number(repository.uses),
                description: format!("{REPOSITORY_PREFIX}{}", repository.remote),
                record_type: GIT.to_owned(),
                ..UsageRecord::default()
            },
            idle_since: repository.last_used,
            blobs: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.record.size).unwrap_or(0)
    }

    /// Says whether only a prune of everything takes it (row CTL-10).
    pub(super) fn is_kept_by_default(&self) -> bool {
        self.record.shared || KEPT_TYPES.contains(&self.record.record_type.as_str())
    }
}

impl Fields for Item {
    fn field(&self, path: &[String]) -> Option<String> {
        let record = &self.record;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let flag = |flag: bool| flag.then(String::new);
        match path.first()?.as_str() {
            "id" => text(&record.id),
            "parents" => text(&record.parents.join(";")),
            "description" => text(&record.description),
            "inuse" => flag(record.in_use),
            "mutable" => flag(record.mutable),
            "immutable" => flag(!record.mutable),
            "type" => text(&record.record_type),
            "shared" => flag(record.shared),
            "private" => flag(!record.shared),
            _ => None,
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
