//! `type=tar`: the tree of a result as one tar (rows ELO-05, ELO-08 to ELO-10).

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::io::Write;

use async_trait::async_trait;
use lamina_content::ArchiveWriter;
use lamina_content::TreeOptions;
use lamina_session::FileTarget;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::Exporter;
use crate::steps::Step;
use crate::trees::ExportTree;
use crate::trees::TreeOutput;
use crate::trees::trees_of;

/// Writes one tar; several platforms get a folder each.
pub(crate) struct TarExporter(pub(crate) TreeOutput);

#[async_trait]
impl Exporter for TarExporter {
    fn name(&self) -> &'static str {
        "exporting to client tarball"
    }

    async fn export(
        &self,
        input: &ExportInput,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let trees = trees_of(input, &self.0.options)?;
        let split = input.is_map();
        let target = context
            .session
            .file_target(self.0.index, &BTreeMap::new())
            .await?;
        let _step = Step::start(&context.progress, "sending tarball");
        let write = move |cancel: &CancelToken| write_trees(&trees, split, target, cancel);
        context.run(write).await?;
        Ok(BTreeMap::new())
    }
}

fn write_trees(
    trees: &[ExportTree],
    split: bool,
    mut target: Box<dyn FileTarget>,
    cancel: &CancelToken,
) -> Result<(), ExportError> {
    let mut archive = ArchiveWriter::new(BufWriter::with_capacity(1 << 18, &mut target));
    for tree in trees {
        let mut options = TreeOptions {
            folder: Vec::new(),
            mtime_ns: tree.mtime_ns,
        };
        if split {
            archive.append_dir(&tree.folder, tree.mtime_ns.unwrap_or(0))?;
            options.folder = tree.folder.clone().into_bytes();
        }
        archive.append_tree(&tree.stack.tree(), &options, cancel)?;
    }
    archive.finish()?.flush().at("tar output")?;
    Ok(target.finish()?)
}
