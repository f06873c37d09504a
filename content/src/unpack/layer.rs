//! Layers of images.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::io::BufReader;
use std::io::Read;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;

use super::extract::Extractor;
use super::extract::Rules;
use crate::ContentError;
use crate::archive::Entry;
use crate::archive::TarReader;
use crate::compression::decoder;
use crate::pack::WHITEOUT_PREFIX;

/// Says that a directory shows nothing of the layers below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a layer blob became.
pub struct UnpackedLayer {
    /// The sealed layer.
    pub layer: Layer,
    /// The digest of its tar, which the caller compares with the image config.
    pub diff_id: DiffId,
    /// It has opaque directories, whose meaning depends on the layers below: it may be found again
    /// by its chain id only. Others mean the same anywhere.
    pub opaque: bool,
}

/// As [`unpack_image_layer`], without the word on where the layer may be used again.
///
/// # Errors
/// As [`unpack_image_layer`].
pub fn unpack_layer(
    store: &SnapshotStore,
    lower: &LayerStack,
    blob: &mut dyn Read,
    cancel: &CancelToken,
    progress: &dyn Fn(u64),
) -> Result<(Layer, DiffId), ContentError> {
    let unpacked = unpack_image_layer(store, lower, blob, cancel, progress)?;
    Ok((unpacked.layer, unpacked.diff_id))
}

/// Unpacks a layer blob on top of `lower`, its compression known by its first bytes (row CMP-06).
///
/// OCI whiteouts (also opaque, in any order), hard links, devices, extended attributes, PAX, GNU
/// and sparse entries are understood. Names with `..` and links out of the root stay inside it;
/// what cannot be made is refused by its name. Whiteouts are kept even where `lower` has nothing to
/// hide. `progress` gets the bytes of the blob read so far.
///
/// # Errors
/// If the blob is damaged or an entry cannot be made; nothing is left then.
pub fn unpack_image_layer(
    store: &SnapshotStore,
    lower: &LayerStack,
    blob: &mut dyn Read,
    cancel: &CancelToken,
    progress: &dyn Fn(u64),
) -> Result<UnpackedLayer, ContentError> {
    let unpacked = unpack(store, lower, false, blob, cancel, progress)?;
    unpacked.ok_or_else(|| ContentError::entry(b"", "this layer was to be unpacked anywhere"))
}

/// Unpacks a layer blob without regard to what it will lie on; `None` if that is not possible: it
/// has opaque marks, replaces a directory that it deletes, puts something into directories that it
/// does not describe, or is damaged. Then [`unpack_image_layer`] makes it, or says what is wrong.
///
/// Such layers can be unpacked in any order, and mean the same on top of any others.
///
/// # Errors
/// If cancelled.
pub fn unpack_free_layer(
    store: &SnapshotStore,
    blob: &mut dyn Read,
    cancel: &CancelToken,
    progress: &dyn Fn(u64),
) -> Result<Option<UnpackedLayer>, ContentError> {
    match unpack(store, &LayerStack::empty(), true, blob, cancel, progress) {
        Err(ContentError::Cancelled(cancelled)) => Err(cancelled.into()),
        Err(error) => {
            tracing::debug!(%error, "a layer is not free of those below");
            Ok(None)
        }
        unpacked => unpacked,
    }
}

/// `None` = it was to be free of the layers below and is not.
fn unpack(
    store: &SnapshotStore,
    lower: &LayerStack,
    free: bool,
    blob: &mut dyn Read,
    cancel: &CancelToken,
    progress: &dyn Fn(u64),
) -> Result<Option<UnpackedLayer>, ContentError> {
    let counted = Counted {
        input: blob,
        count: 0,
        progress,
    };
    let active = store.prepare(lower)?;
    let stream = decoder(BufReader::with_capacity(1 << 18, counted)).map_err(blob_error)?;
    let mut tar = TarReader::new(Hashed {
        input: stream,
        hasher: Sha256Hasher::new(),
    });
    let Some(opaque) = LayerUnpacker::new(&active, free, cancel)?.run(&mut tar)? else {
        return Ok(None);
    };
    let mut rest = tar.into_input();
    drain(&mut rest, cancel)?;
    let diff_id = DiffId(rest.hasher.finish());
    drop(rest.input);
    Ok(Some(UnpackedLayer {
        layer: active.commit(cancel)?,
        diff_id,
        opaque,
    }))
}

fn blob_error(source: io::Error) -> ContentError {
    ContentError::Stream {
        what: "layer blob",
        source,
    }
}

/// The digest covers what follows the end mark, and a damaged end is damage.
fn drain(input: &mut impl Read, cancel: &CancelToken) -> Result<(), ContentError> {
    let mut buffer = vec![0; 1 << 16];
    while input.read(&mut buffer).map_err(blob_error)? > 0 {
        cancel.check()?;
    }
    Ok(())
}

struct LayerUnpacker<'a> {
    active: &'a ActiveLayer,
    extractor: Extractor<'a>,
    cancel: &'a CancelToken,
    /// What this layer made: an opaque mark that comes later does not hide it.
    made: HashSet<RootedPath>,
    opaque: bool,
    /// Give up as soon as what is below would matter.
    free: bool,
    /// Names that this layer deletes from those below.
    deleted: HashSet<RootedPath>,
    /// Directories of lower layers that this one writes into without saying anything of them, and
    /// their times: that stays as it is below.
    passed_through: HashMap<RootedPath, i128>,
}

impl<'a> LayerUnpacker<'a> {
    fn new(
        active: &'a ActiveLayer,
        free: bool,
        cancel: &'a CancelToken,
    ) -> Result<Self, ContentError> {
        let root = active.writer().root()?;
        Ok(Self {
            active,
            extractor: Extractor::new(root, Rules::Layer, cancel),
            cancel,
            made: HashSet::new(),
            opaque: false,
            free,
            deleted: HashSet::new(),
            passed_through: HashMap::new(),
        })
    }

    /// Unpacks everything; says whether there was an opaque mark. `None` = given up.
    fn run<R: Read>(mut self, tar: &mut TarReader<R>) -> Result<Option<bool>, ContentError> {
        while let Some(entry) = tar.next_entry()? {
            self.cancel.check()?;
            if !self.unpack(&entry, tar)? {
                return Ok(None);
            }
        }
        self.extractor.finish()?;
        let writer = self.active.writer();
        // Deepest first: bringing up a directory changes the one that holds it.
        let mut times: Vec<(RootedPath, i128)> = self.passed_through.into_iter().collect();
        times.sort_by(|a, b| b.cmp(a));
        for (path, mtime_ns) in &times {
            self.cancel.check()?;
            // It may have been deleted, or replaced, after all.
            match writer.dir(path) {
                Ok(directory) if directory.path() == path => {
                    directory.restore_own_mtime(*mtime_ns)?;
                }
                _ => {}
            }
        }
        Ok(Some(self.opaque))
    }

    /// Says whether to go on.
    fn unpack<R: Read>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<bool, ContentError> {
        // The root belongs to nobody's layer.
        let Some((place, name)) = self.extractor.place(&entry.path)? else {
            return Ok(true);
        };
        let implied = self.extractor.take_made();
        if self.free && (!implied.is_empty() || name == OPAQUE) {
            return Ok(false);
        }
        self.made.extend(implied);
        self.note_time(&place)?;
        if name == OPAQUE {
            self.opaque = true;
            self.clear(place)?;
            return Ok(true);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            return self.delete(entry, &place, hidden);
        }
        let path = place.path().join(&name);
        if self.free && self.deleted.contains(&path) {
            return Ok(false);
        }
        self.extractor.make(entry, &place, &name, tar)?;
        self.passed_through.remove(&path);
        self.made.insert(path);
        Ok(true)
    }

    fn delete(
        &mut self,
        entry: &Entry,
        place: &WriteDir,
        hidden: &[u8],
    ) -> Result<bool, ContentError> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(ContentError::entry(&entry.path, "invalid whiteout name"));
        }
        if self.free {
            let path = place.path().join(hidden);
            if self.made.contains(&path) {
                return Ok(false);
            }
            self.deleted.insert(path);
        }
        self.extractor.whiteout(place, hidden)?;
        Ok(true)
    }

    /// Remembers the times of a directory of a lower layer, and of those that hold it, before it is
    /// first written into.
    fn note_time(&mut self, place: &WriteDir) -> Result<(), ContentError> {
        let mut next = Some(place.path().clone());
        while let Some(path) = next {
            if self.made.contains(&path) || self.passed_through.contains_key(&path) {
                break;
            }
            let found = self.active.tree().lookup(&path, Follow::Parents)?;
            next = path.parent();
            self.passed_through.insert(path, found.stat().mtime_ns);
        }
        Ok(())
    }

    /// Removes what lower layers show in a directory, at any depth below what this layer made.
    fn clear(&mut self, directory: WriteDir) -> Result<(), ContentError> {
        let mut open = vec![directory];
        while let Some(directory) = open.pop() {
            let tree = self.active.tree();
            let listed = tree.lookup(directory.path(), Follow::Parents)?;
            for name in listed.read_dir()? {
                self.cancel.check()?;
                if !self.made.contains(&directory.path().join(&name)) {
                    self.extractor.remove(&directory, &name)?;
                } else if listed.child(&name)?.stat().is_dir() {
                    open.push(directory.open_dir(&name)?);
                }
            }
        }
        Ok(())
    }
}

/// Tells how much was read.
struct Counted<'a> {
    input: &'a mut dyn Read,
    count: u64,
    progress: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        (self.progress)(self.count);
        Ok(count)
    }
}

/// Hashes what is read.
struct Hashed<R> {
    input: R,
    hasher: Sha256Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
