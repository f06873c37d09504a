//! `type=oci` and `type=docker`: image archives on the client (rows EOC-01 to EOC-07).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use lamina_content::ContentStore;
use lamina_session::DirectoryTarget;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_types::CancelToken;
use lamina_types::IoContext;

use super::archive_files::ArchiveFile;
use super::archive_files::CheckedBlob;
use super::archive_files::archive_files;
use super::archive_files::write_archive;
use super::commit::commit;
use super::image_exporter::metadata_of;
use super::image_exporter::with_metadata;
use super::names::parse_names;
use super::options::CommitOptions;
use super::response::response;
use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::Exporter;
use crate::attrs::Attrs;
use crate::blobs::send_blob;
use crate::steps::Step;

/// When an archive was made.
const CREATED: &str = "org.opencontainers.image.created";

/// Who is to read the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ArchiveFormat {
    Oci,
    /// With `manifest.json`, so that every `docker load` takes it.
    Docker,
}

/// Writes an image archive, or the same files as a directory.
pub(crate) struct ArchiveExporter {
    format: ArchiveFormat,
    index: usize,
    options: CommitOptions,
    as_tar: bool,
    metadata: BTreeMap<String, Vec<u8>>,
}

impl ArchiveExporter {
    /// Reads the attributes.
    pub(crate) fn parse(
        format: ArchiveFormat,
        attrs: &BTreeMap<String, String>,
        index: usize,
    ) -> Result<Self, ExportError> {
        let mut attrs = Attrs::new(attrs);
        Ok(Self {
            format,
            index,
            options: CommitOptions::take(&mut attrs)?,
            as_tar: attrs.take_bool("tar", Some(true))?.unwrap_or(true),
            metadata: metadata_of(attrs),
        })
    }

    /// Sends one tar; `response` goes along, since the client may want to know it first (SVC-09).
    async fn send_tar(
        &self,
        files: BTreeMap<String, ArchiveFile>,
        response: &BTreeMap<String, String>,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        let store = context.content.clone();
        let target = context.session.file_target(self.index, response).await;
        let mut target = target?;
        let _step = Step::start(&context.progress, "sending tarball");
        let write = move |cancel: &CancelToken| {
            write_archive(&files, &store, &mut target, cancel)?;
            target.finish().map_err(ExportError::from)
        };
        context.run(write).await
    }

    /// Copies the files into a directory of this host, or the blobs into the client's store
    /// (row EOC-02); that client writes its index itself, from the response.
    async fn copy(
        &self,
        files: BTreeMap<String, ArchiveFile>,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        let _step = Step::start(&context.progress, "copying blobs");
        let store = match context.session.blobs(&StoreId::Export).await {
            Ok(store) => store,
            Err(SessionError::NoSuchStore { .. }) => {
                return self.copy_to_directory(files, context).await;
            }
            Err(error) => return Err(error.into()),
        };
        for file in files.into_values() {
            match file {
                ArchiveFile::Blob(blob) => send_blob(&blob, &*store, context).await?,
                ArchiveFile::Bytes(_) => {}
            }
        }
        Ok(())
    }

    async fn copy_to_directory(
        &self,
        files: BTreeMap<String, ArchiveFile>,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        let target = context.session.directory_target(self.index, false).await?;
        let DirectoryTarget::Host(target) = target else {
            let reason = "the client offers no store for separate blobs";
            return Err(ExportError::Conflict(reason.to_owned()));
        };
        let store = context.content.clone();
        let write = move |cancel: &CancelToken| write_directory(&files, &store, &target, cancel);
        context.run(write).await
    }
}

#[async_trait]
impl Exporter for ArchiveExporter {
    fn name(&self) -> &'static str {
        match self.format {
            ArchiveFormat::Oci => "exporting to oci image format",
            ArchiveFormat::Docker => "exporting to docker image format",
        }
    }

    async fn export(
        &self,
        input: &ExportInput,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        if self.format == ArchiveFormat::Docker && input.is_map() {
            let reason = "docker exporter does not currently support exporting manifest lists";
            return Err(ExportError::Conflict(reason.to_owned()));
        }
        let input = with_metadata(input, &self.metadata);
        let options = self.options.for_result(&input)?;
        let names = parse_names(options.names())?;
        let image = commit(&input, &options, context).await?;
        let mut descriptor = image.descriptor.clone();
        let created = image.epoch.unwrap_or_else(Timestamp::now);
        descriptor
            .annotations
            .entry(CREATED.to_owned())
            .or_insert_with(|| format!("{}", created.strftime("%Y-%m-%dT%H:%M:%SZ")));
        let files = archive_files(self.format, &image, &descriptor, &names)?;
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        let response = response(&descriptor, image.config_digest(), &shown.join(","))?;
        match self.as_tar {
            true => self.send_tar(files, &response, context).await?,
            false => self.copy(files, context).await?,
        }
        Ok(response)
    }
}

/// Writes the files below `target`; blobs that are there stay, so a layout can hold several
/// images' blobs, and `index.json` is replaced.
fn write_directory(
    files: &BTreeMap<String, ArchiveFile>,
    store: &ContentStore,
    target: &Path,
    cancel: &CancelToken,
) -> Result<(), ExportError> {
    let blobs = target.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).at(blobs.display())?;
    for (path, file) in files {
        cancel.check()?;
        let path = target.join(path);
        match file {
            ArchiveFile::Bytes(bytes) => {
                replace(&path, |file| Ok(file.write_all(bytes).at(path.display())?))?
            }
            ArchiveFile::Blob(_) if path.exists() => {}
            ArchiveFile::Blob(blob) => replace(&path, |file| {
                let mut data = CheckedBlob::open(store, blob)?;
                io::copy(&mut data, file).at(path.display())?;
                Ok(data.check()?)
            })?,
        }
    }
    Ok(())
}

/// A temporary file beside its target, removed unless it took its place.
struct Partial {
    path: PathBuf,
    kept: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // The error that brought us here is the one to report.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Puts a file at `path` when `fill` has written all of it.
fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    let mut partial = Partial {
        path: path.with_file_name(name),
        kept: false,
    };
    let mut file = File::create(&partial.path).at(partial.path.display())?;
    fill(&mut file)?;
    file.sync_all().at(path.display())?;
    std::fs::rename(&partial.path, path).at(path.display())?;
    partial.kept = true;
    Ok(())
}
