//! From a sealed layer to the blob that an image names.
//!
//! ```text
//! changes -> tar -> sha256 (diff id) -> blocks on all cores -> sha256 (digest) -> ingest file
//! ```
//! One pass, bounded memory. A layer remembers its blobs: what was pulled is exported again byte
//! for byte, and nothing is compressed twice (rows CMP-03 to CMP-05).

use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;

use lamina_snapshotter::Change;
use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::Changes;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;

use crate::Compression;
use crate::ContentError;
use crate::ContentStore;
use crate::Ingest;
use crate::archive::Entry;
use crate::archive::EntryKind;
use crate::archive::TarWriter;
use crate::compression::BlockCompressor;
use crate::compression::decoder;
use crate::entry::entry_of;
use crate::entry::file_entry;
use crate::entry::hard_link_entry;

/// What marks a deleted name in a layer.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Returns the blob of a layer, written if the store has none yet.
///
/// A blob that the layer remembers is taken as it is, whatever its compression, but one in
/// `compression` is preferred (row CMP-03 without force). The tar is sorted by path, holds no user
/// or group names, whiteouts as `.wh.` files, hard links only inside the layer, and no parents that
/// the layer merely passes through (row CMP-05).
///
/// # Errors
/// If a file cannot be read or the blob not be written; nothing is left behind then.
pub fn pack_layer(
    store: &ContentStore,
    layer: &Layer,
    compression: Compression,
    cancel: &CancelToken,
) -> Result<LayerBlob, ContentError> {
    let stored = stored_blobs(store, layer);
    let fitting = stored
        .iter()
        .find(|blob| compression.matches(&blob.media_type));
    if let Some(blob) = fitting.or(stored.first()) {
        return Ok(blob.clone());
    }
    let blob = write_layer(store, layer, compression, cancel)?;
    layer.add_blob(blob.clone())?;
    Ok(blob)
}

/// Returns the blob of a layer in exactly that compression (`force-compression`, row CMP-03).
///
/// A layer with a blob of another kind keeps its diff id: the same tar is compressed anew.
///
/// # Errors
/// As [`pack_layer`].
pub fn convert_layer(
    store: &ContentStore,
    layer: &Layer,
    compression: Compression,
    cancel: &CancelToken,
) -> Result<LayerBlob, ContentError> {
    let blob = pack_layer(store, layer, compression, cancel)?;
    if compression.matches(&blob.media_type) {
        return Ok(blob);
    }
    let source = BufReader::with_capacity(1 << 18, store.open_blob(&blob.digest)?);
    let mut tar = decoder(source).map_err(stream_error)?;
    let mut sink = LayerSink::start(store, compression)?;
    copy(&mut tar, &mut sink, cancel)?;
    let converted = sink.finish()?;
    if converted.diff_id != blob.diff_id {
        return Err(ContentError::WrongDigest {
            wanted: blob.diff_id.0,
            found: converted.diff_id.0,
        });
    }
    layer.add_blob(converted.clone())?;
    Ok(converted)
}

fn stored_blobs(store: &ContentStore, layer: &Layer) -> Vec<LayerBlob> {
    let mut blobs = layer.blobs();
    blobs.retain(|blob| store.contains(&blob.digest));
    blobs
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, cancel: &CancelToken) -> Result<(), ContentError> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        cancel.check()?;
        match from.read(&mut buffer).map_err(stream_error)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count]).map_err(stream_error)?,
        }
    }
}

fn stream_error(source: io::Error) -> ContentError {
    ContentError::Stream {
        what: "layer blob",
        source,
    }
}

fn write_layer(
    store: &ContentStore,
    layer: &Layer,
    compression: Compression,
    cancel: &CancelToken,
) -> Result<LayerBlob, ContentError> {
    let sink = LayerSink::start(store, compression)?;
    let mut tar = LayerTar {
        writer: TarWriter::new(sink),
        passed_through: None,
    };
    let mut changes = layer.changes()?;
    while let Some(change) = changes.next() {
        cancel.check()?;
        tar.append(&change?, &changes, cancel)?;
    }
    tar.finish()?.finish()
}

/// The tar of a layer under way.
struct LayerTar<W> {
    writer: TarWriter<W>,
    /// A directory that the layer merely passes through: left out if something follows below it,
    /// and written if nothing does, for then it is all that there is to say.
    passed_through: Option<(RootedPath, Entry)>,
}

impl<W: Write> LayerTar<W> {
    fn append(
        &mut self,
        change: &Change,
        changes: &Changes,
        cancel: &CancelToken,
    ) -> Result<(), ContentError> {
        let Some(entry) = change_entry(change)? else {
            return Ok(());
        };
        match self.passed_through.take() {
            Some((above, _)) if change.path.starts_with(&above) => {}
            Some((_, empty)) => self.writer.append(&empty)?,
            None => {}
        }
        if is_passed_through(&change.kind) {
            self.passed_through = Some((change.path.clone(), entry));
            return Ok(());
        }
        if entry.kind == EntryKind::File && entry.size > 0 {
            let mut data = changes.open(&change.path)?;
            return self.writer.append_file(&entry, &mut data, cancel);
        }
        self.writer.append(&entry)
    }

    fn finish(mut self) -> Result<W, ContentError> {
        if let Some((_, empty)) = self.passed_through.take() {
            self.writer.append(&empty)?;
        }
        self.writer.finish()
    }
}

fn is_passed_through(kind: &ChangeKind) -> bool {
    matches!(
        kind,
        ChangeKind::Entry {
            implied_parent: true,
            ..
        }
    )
}

/// Returns what the change is in a tar; `None` for what no layer's tar can hold.
fn change_entry(change: &Change) -> Result<Option<Entry>, ContentError> {
    let path = change.path.relative();
    let Some(name) = change.path.file_name() else {
        return Ok(None);
    };
    if name.starts_with(WHITEOUT_PREFIX) {
        let reason = "names that start with \".wh.\" cannot be stored in an image layer";
        return Err(ContentError::entry(path, reason));
    }
    match &change.kind {
        ChangeKind::Whiteout => {
            let folder = &path[..path.len() - name.len()];
            let marker = [folder, WHITEOUT_PREFIX, name].concat();
            Ok(Some(file_entry(&marker, 0, 0)))
        }
        ChangeKind::Entry { stat, .. } => Ok(entry_of(path, stat)),
        ChangeKind::HardLink { first, stat } => Ok(hard_link_entry(path, first.relative(), stat)),
    }
}

/// Hashes a tar, compresses it, and writes the blob.
struct LayerSink {
    tar: Sha256Hasher,
    blocks: BlockCompressor<Ingest>,
    compression: Compression,
}

impl LayerSink {
    fn start(store: &ContentStore, compression: Compression) -> Result<Self, ContentError> {
        Ok(Self {
            tar: Sha256Hasher::new(),
            blocks: BlockCompressor::new(store.ingest()?, compression),
            compression,
        })
    }

    fn finish(self) -> Result<LayerBlob, ContentError> {
        let ingest = self.blocks.finish();
        let ingest = ingest.map_err(|source| ContentError::Compress { source })?;
        let (digest, size) = ingest.commit(None)?;
        Ok(LayerBlob {
            diff_id: DiffId(self.tar.finish()),
            digest,
            size,
            media_type: self.compression.media_type().to_owned(),
        })
    }
}

impl Write for LayerSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.blocks.write(data)?;
        self.tar.update(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blocks.flush()
    }
}
