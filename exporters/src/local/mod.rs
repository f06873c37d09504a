//! `type=local`: the tree of a result as files on the client (rows ELO-01 to ELO-10).
//!
//! ```text
//! plan.rs   walk the tree once: directories, files, further names; duplicates are found here
//! write.rs  directories in order, files side by side, links, then the times of directories
//! dest.rs   the target, through directory handles only: a symlink in it is replaced, not followed
//! file.rs   one file: data, owner, attributes, mode, times
//! ```

mod dest;
mod file;
mod plan;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::Progress;

use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::Exporter;
use crate::attrs::Attrs;
use crate::steps::Step;
use crate::trees::ExportTree;
use crate::trees::LocalMode;
use crate::trees::TreeExportOptions;
use crate::trees::trees_of;
use dest::Destination;
use file::Owners;
use plan::Plan;

/// Fills a directory of the client.
pub(crate) struct LocalExporter {
    index: usize,
    options: TreeExportOptions,
}

impl LocalExporter {
    /// Reads the attributes.
    pub(crate) fn parse(
        attrs: &BTreeMap<String, String>,
        index: usize,
    ) -> Result<Self, ExportError> {
        let options = TreeExportOptions::take(&mut Attrs::new(attrs))?;
        Ok(Self { index, options })
    }
}

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
        let trees = trees_of(input, &self.options)?;
        let split = self.options.splits(input);
        let mode = self.options.mode;
        let target = context.session.directory_target(self.index).await?;
        let _step = Step::start(&context.progress, "copying files");
        let progress = context.progress.clone();
        context
            .blocking
            .run(&context.cancel, move |cancel| {
                let plan = plan_of(&trees, split, cancel)?;
                let destination = Destination::open(&target)?;
                if mode == LocalMode::Delete {
                    destination.remove_others(&plan.names(), cancel)?;
                }
                write::write(&plan, &destination, Owners::Caller, &progress, cancel)
            })
            .await?;
        Ok(BTreeMap::new())
    }
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
