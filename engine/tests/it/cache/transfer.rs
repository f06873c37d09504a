//! Caches that a build reads and writes, with what a client does about them: it finds the manifest
//! by its tag before, and tags the new one afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use lamina_content::set_tag;
use lamina_content::tagged;
use lamina_engine::BuildRequest;
use lamina_llb::CacheOption;
use lamina_session::LocalSessionBuilder;

use super::scenario::Build;
use super::scenario::Transfer;

const TAG: &str = "latest";

/// The caches of one build.
pub(super) struct Transfers {
    folders: BTreeMap<String, PathBuf>,
    imports: Vec<CacheOption>,
    exports: Vec<CacheOption>,
    written: Vec<PathBuf>,
}

impl Transfers {
    /// Caches live in the folder of the scenario, so that they survive a wipe. One that is not
    /// there is not asked for.
    pub(super) fn of(build: &Build, dir: &Path) -> Self {
        let place = |transfer: &Transfer| dir.join("caches").join(&transfer.dir);
        let imports = build.cache_imports.iter().flatten();
        let exports = build.cache_exports.iter().flatten();
        let folders = imports.clone().chain(exports.clone());
        Self {
            folders: folders.map(|t| (t.dir.clone(), place(t))).collect(),
            imports: imports.filter_map(|t| import(t, &place(t))).collect(),
            exports: exports.clone().map(export).collect(),
            written: exports.map(place).collect(),
        }
    }

    pub(super) fn offer(&self, session: LocalSessionBuilder) -> LocalSessionBuilder {
        let offer = |session: LocalSessionBuilder, (name, path): (&String, &PathBuf)| {
            session.cache_dir(name, path)
        };
        self.folders.iter().fold(session, offer)
    }

    pub(super) fn ask(&self, request: &mut BuildRequest) {
        request.cache_imports.clone_from(&self.imports);
        request.cache_exports.clone_from(&self.exports);
    }

    pub(super) fn finish(&self, response: &BTreeMap<String, String>) {
        let Some(manifest) = response.get("cache.manifest") else {
            return;
        };
        let manifest = serde_json::from_str(manifest).expect("a descriptor");
        // No scenario writes two caches in one build.
        if let Some(folder) = self.written.first() {
            set_tag(folder, TAG, manifest).expect("the index can be written");
        }
    }
}

fn import(transfer: &Transfer, folder: &Path) -> Option<CacheOption> {
    let manifest = tagged(folder, TAG).expect("the index can be read")?;
    let mut attrs = transfer.attrs.clone();
    attrs.insert("src".to_owned(), transfer.dir.clone());
    attrs.insert("digest".to_owned(), manifest.digest.to_string());
    Some(CacheOption {
        kind: transfer.kind.clone(),
        attrs,
    })
}

fn export(transfer: &Transfer) -> CacheOption {
    let mut attrs = transfer.attrs.clone();
    attrs.insert("dest".to_owned(), transfer.dir.clone());
    CacheOption {
        kind: transfer.kind.clone(),
        attrs,
    }
}
