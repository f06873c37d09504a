//! The files of an image archive.
//!
//! ```text
//! blobs/sha256/<hex>  every blob once
//! index.json          the image under each of its names
//! manifest.json       what `docker load` reads; only in docker archives
//! oci-layout
//! ```

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;

use lamina_content::ArchiveWriter;
use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::OCI_LAYOUT;
use lamina_content::REF_NAME;
use lamina_content::media_type;
use lamina_content::to_go_json;
use lamina_registry::ImageReference;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use serde::Serialize;

use super::archive::ArchiveFormat;
use super::commit::Committed;
use super::commit::CommittedManifest;
use crate::ExportError;

/// Names an image for containerd's importer.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// One file of an archive.
pub(crate) enum ArchiveFile {
    /// Written by us.
    Bytes(Vec<u8>),
    /// From the content store.
    Blob(Box<Descriptor>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Returns the files by path. `descriptor` is the image as the index lists it.
pub(crate) fn archive_files(
    format: ArchiveFormat,
    image: &Committed,
    descriptor: &Descriptor,
    names: &[ImageReference],
) -> Result<BTreeMap<String, ArchiveFile>, ExportError> {
    let mut files = BTreeMap::new();
    let manifests = image.manifests.iter().map(|manifest| &manifest.descriptor);
    let blobs = image.blobs();
    for blob in blobs.iter().chain(manifests).chain([&image.descriptor]) {
        files.insert(
            blob_path(&blob.digest),
            ArchiveFile::Blob(Box::new(blob.clone())),
        );
    }
    let index = index_of(descriptor, names);
    files.insert("index.json".to_owned(), bytes_of("index.json", &index)?);
    if let (ArchiveFormat::Docker, Some(manifest)) = (format, image.manifests.first()) {
        let listed = [docker_manifest(manifest, names)];
        let file = bytes_of("manifest.json", &listed)?;
        files.insert("manifest.json".to_owned(), file);
    }
    let layout = ArchiveFile::Bytes(OCI_LAYOUT.into());
    files.insert("oci-layout".to_owned(), layout);
    Ok(files)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn bytes_of(what: &str, value: &impl Serialize) -> Result<ArchiveFile, ExportError> {
    let bytes = to_go_json(value).map_err(|source| ContentError::Json {
        what: what.to_owned(),
        source,
    })?;
    Ok(ArchiveFile::Bytes(bytes))
}

/// Lists the image once for each name, or once without a name.
fn index_of(descriptor: &Descriptor, names: &[ImageReference]) -> Index {
    let named = |name: &ImageReference| {
        let mut entry = descriptor.clone();
        let mut annotate = |key: &str, value: String| {
            entry.annotations.insert(key.to_owned(), value);
        };
        annotate(IMAGE_NAME, name.to_string());
        annotate(REF_NAME, ref_name(name));
        entry
    };
    let mut entries: Vec<Descriptor> = names.iter().map(named).collect();
    if entries.is_empty() {
        entries.push(descriptor.clone());
    }
    Index::new(media_type::OCI_INDEX, entries)
}

/// The tag, or what else distinguishes the image in its repository.
fn ref_name(name: &ImageReference) -> String {
    match (&name.tag, &name.digest) {
        (Some(tag), _) => tag.clone(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => name.to_string(),
    }
}

fn docker_manifest(manifest: &CommittedManifest, names: &[ImageReference]) -> DockerManifest {
    DockerManifest {
        config: blob_path(&manifest.config.digest),
        repo_tags: names.iter().map(repo_tag).collect(),
        layers: manifest
            .layers
            .iter()
            .map(|layer| blob_path(&layer.digest))
            .collect(),
    }
}

/// The short form, always with its tag: `docker load` takes no name without one.
fn repo_tag(name: &ImageReference) -> String {
    let familiar = name.familiar();
    match name.tag.as_deref() {
        Some("latest") if !familiar.ends_with(":latest") => format!("{familiar}:latest"),
        _ => familiar,
    }
}

/// Writes the files as a tar, sorted by path.
pub(crate) fn write_archive(
    files: &BTreeMap<String, ArchiveFile>,
    store: &ContentStore,
    out: impl Write,
    cancel: &CancelToken,
) -> Result<(), ExportError> {
    let mut archive = ArchiveWriter::new(out);
    archive.append_dir("blobs", 0)?;
    archive.append_dir("blobs/sha256", 0)?;
    for (path, file) in files {
        match file {
            ArchiveFile::Bytes(bytes) => {
                let size = bytes.len() as u64;
                archive.append_file(path, size, &mut &bytes[..], cancel)?;
            }
            ArchiveFile::Blob(blob) => {
                let mut data = CheckedBlob::open(store, blob)?;
                archive.append_file(path, blob.size, &mut data, cancel)?;
                data.check()?;
            }
        }
    }
    archive.finish()?;
    Ok(())
}

/// A blob on its way out: damage on our disk must not leave it.
pub(crate) struct CheckedBlob {
    input: std::fs::File,
    hasher: Sha256Hasher,
    wanted: Digest,
}

impl CheckedBlob {
    pub(crate) fn open(store: &ContentStore, blob: &Descriptor) -> Result<Self, ContentError> {
        Ok(Self {
            input: store.open_blob(&blob.digest)?,
            hasher: Sha256Hasher::new(),
            wanted: blob.digest,
        })
    }

    /// Compares the digest of what was read.
    pub(crate) fn check(self) -> Result<(), ContentError> {
        let found = self.hasher.finish();
        if found == self.wanted {
            return Ok(());
        }
        Err(ContentError::WrongDigest {
            wanted: self.wanted,
            found,
        })
    }
}

impl Read for CheckedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
