//! Caches that frontends ask for in the middle of a build (row GW-19).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use futures_util::future::join_all;
use lamina_exporters::ExportContext;
use tokio::sync::OnceCell;

use super::Build;
use crate::CacheOption;

/// What a build has been asked to import, and what for.
#[derive(Default)]
pub(super) struct Imports {
    /// Set when the build begins.
    context: OnceLock<ExportContext>,
    /// Each is read once, whoever asks.
    asked: Mutex<BTreeMap<CacheOption, Arc<OnceCell<()>>>>,
}

impl Imports {
    fn once(&self, cache: &CacheOption) -> Arc<OnceCell<()>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(asked.entry(cache.clone()).or_default())
    }
}

impl Build {
    /// Reads the keys of caches; what is solved from now on is looked up there too, after what is
    /// here (rows CSOL-12, CIM-05). Each is a step of its own, and read once in a build. No failure
    /// of a cache is one of the build.
    ///
    /// The context also serves what frontends ask for later, so it is to be called when the build
    /// begins, even if there is nothing to import.
    pub async fn import_caches(&self, caches: &[CacheOption], context: &ExportContext) {
        // A later one is of the same build, so it says the same.
        drop(self.0.imports.context.set(context.clone()));
        self.import_more(caches).await;
    }

    /// Reads caches for a frontend; all of them are there when this returns.
    pub(super) async fn import_more(&self, caches: &[CacheOption]) {
        let Some(context) = self.0.imports.context.get() else {
            return;
        };
        join_all(caches.iter().map(|cache| async move {
            let once = self.0.imports.once(cache);
            once.get_or_init(|| self.import(cache, context)).await;
        }))
        .await;
    }
}
