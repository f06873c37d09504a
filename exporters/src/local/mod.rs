//! `type=local`: the tree of a result as files on the client (rows ELO-01 to ELO-10).
//!
//! ```text
//! plan.rs   walk the tree once: directories, files, further names; duplicates are found here
//! write.rs  directories in order, files side by side, links, then the times of directories
//! file.rs   one file: data, owner, attributes, mode, times
//! remote.rs the same plan, sent to a client elsewhere
//! ```
//! The target is reached through handles only ([`Destination`]): a symlink in it is replaced, not
//! followed.

mod file;
mod plan;
mod remote;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use async_trait::async_trait;
use lamina_session::DirectoryTarget;
use lamina_session::host::Destination;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::Progress;

use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::Exporter;
use crate::steps::Step;
use crate::trees::ExportTree;
use crate::trees::LocalMode;
use crate::trees::TreeOutput;
use crate::trees::trees_of;
use file::Owners;
use plan::Plan;

/// Fills a directory of the client.
pub(crate) struct LocalExporter(pub(crate) TreeOutput);

#[async_trait]
impl Exporter for LocalExporter {
    fn name(&self) -> &'static str {
        "exporting to client directory"
    }

    async fn export(
        &self,
        input: &ExportInput,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let trees = trees_of(input, &self.0.options)?;
        let split = self.0.options.splits(input);
        let mode = self.0.options.mode;
        // Clients that mirror insist on knowing that all platforms come in one transfer.
        let mirrors = mode == LocalMode::Delete;
        let target = context.session.directory_target(self.0.index, mirrors);
        let target = target.await?;
        let _step = Step::start(&context.progress, "copying files");
        let plan = move |cancel: &CancelToken| plan_of(&trees, split, cancel);
        let plan = context.run(plan).await?;
        match target {
            DirectoryTarget::Remote(sender) => remote::send(plan, sender, context).await?,
            DirectoryTarget::Host(target) => fill(plan, target, mode, context).await?,
        }
        Ok(BTreeMap::new())
    }
}

/// Writes the plan into a directory of this host.
async fn fill(
    plan: Plan,
    target: PathBuf,
    mode: LocalMode,
    context: &ExportContext,
) -> Result<(), ExportError> {
    let progress = context.progress.clone();
    let work = move |cancel: &CancelToken| {
        let destination = Destination::open(&target)?;
        if mode == LocalMode::Delete {
            let names = plan.names();
            destination.remove_others::<ExportError>(|path| names.contains(path), cancel)?;
        }
        write::write(&plan, &destination, Owners::Caller, &progress, cancel)
    };
    context.run(work).await
}

/// Writes the tree of `stack` into the directory `target`, which exists: copies, never links, so
/// that the files may be changed. Root keeps the owners.
///
/// Blocks.
///
/// # Errors
/// The first that occurs; what was written stays.
pub fn write_tree(
    stack: &LayerStack,
    target: &Path,
    cancel: &CancelToken,
) -> Result<(), ExportError> {
    let tree = ExportTree {
        id: String::new(),
        folder: String::new(),
        stack: stack.clone(),
        mtime_ns: None,
    };
    let plan = plan_of(&[tree], false, cancel)?;
    let destination = Destination::open(target)?;
    let owners = Owners::kept_by_root();
    write::write(&plan, &destination, owners, &Progress::default(), cancel)
}

fn plan_of(trees: &[ExportTree], split: bool, cancel: &CancelToken) -> Result<Plan, ExportError> {
    let mut plan = Plan::default();
    for tree in trees {
        plan.add(tree, split, cancel)?;
    }
    Ok(plan)
}
