//! Sending a directory of this host (rows SVC-02, SVC-04).
//!
//! The directory is listed once, by descriptors and without following symlinks; then its entries go
//! out in order while requests come in, and then the data of what was requested. Memory: the list,
//! and one piece of one file.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use lamina_session::FileEntry;
use lamina_session::FileSender;
use lamina_session::LocalOwner;
use lamina_session::LocalRequest;
use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_types::CancelToken;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::Stat;
use tokio::sync::oneshot;

use super::error::ServeError;
use super::offer::Offer;

/// Entries that are described in one go.
const BATCH: usize = 256;

/// Data that is read in one go.
const READ_BYTES: usize = 1 << 20;

/// A directory and what is wanted of it.
pub(super) struct Listing {
    root: OwnedFd,
    owner: LocalOwner,
    entries: Vec<HostEntry>,
    /// For each entry, an earlier one that is the same file.
    same_as: HashMap<usize, usize>,
}

/// Lists a directory.
pub(super) async fn list(
    offer: &Offer,
    path: PathBuf,
    owner: LocalOwner,
    wanted: LocalRequest,
) -> Result<Arc<Listing>, ServeError> {
    offer
        .run(move |cancel| {
            let root = host::open_root(&path).at(path.display())?;
            let entries = host::list(&root, &wanted, cancel)?;
            let same_as = further_names(&entries);
            Ok(Arc::new(Listing {
                root,
                owner,
                entries,
                same_as,
            }))
        })
        .await
}

/// Finds further names of files among the entries; the first name has the data.
fn further_names(entries: &[HostEntry]) -> HashMap<usize, usize> {
    let (mut first_names, mut same_as) = (HashMap::new(), HashMap::new());
    for (index, entry) in entries.iter().enumerate() {
        let found = &entry.fingerprint;
        if found.kind != FileKind::File || found.links < 2 {
            continue;
        }
        match first_names.entry((found.device, found.inode)) {
            hash_map::Entry::Occupied(first) => {
                same_as.insert(index, *first.get());
            }
            hash_map::Entry::Vacant(first) => {
                first.insert(index);
            }
        }
    }
    same_as
}

/// Sends a listing and the data that is asked for; `ended` learns how it went.
///
/// A success is said before the two sides take their leave: stock daemons end theirs only when ours
/// has ended.
pub(super) async fn send(
    offer: &Offer,
    listing: Arc<Listing>,
    mut sender: FileSender,
    ended: oneshot::Sender<Result<(), ServeError>>,
) {
    let served = serve(offer, &listing, &mut sender).await;
    // In all three places: the daemon may have left, and then nobody wants to know.
    match served {
        Ok(()) => {
            drop(ended.send(Ok(())));
            drop(sender.finish().await);
        }
        Err(error) => {
            sender.fail(&error.to_string()).await;
            drop(ended.send(Err(error)));
        }
    }
}

async fn serve(
    offer: &Offer,
    listing: &Arc<Listing>,
    sender: &mut FileSender,
) -> Result<(), ServeError> {
    for start in (0..listing.entries.len()).step_by(BATCH) {
        let batch = Arc::clone(listing);
        let described = offer
            .run(move |cancel| batch.describe(start, cancel))
            .await?;
        for entry in described {
            sender.entry(&entry).await?;
        }
    }
    sender.entries_end().await?;
    while let Some(id) = sender.next_request().await? {
        send_file(offer, listing, id, sender).await?;
    }
    Ok(())
}

async fn send_file(
    offer: &Offer,
    listing: &Arc<Listing>,
    id: u32,
    sender: &mut FileSender,
) -> Result<(), ServeError> {
    let opened = Arc::clone(listing);
    let mut read = offer.run(move |_| read_first(&opened, id)).await?;
    loop {
        let (file, data) = read;
        sender.data(id, data).await?;
        let Some(file) = file else { break };
        read = offer
            .run(move |_| Ok(read_piece(file, READ_BYTES)?))
            .await?;
    }
    Ok(sender.file_end(id).await?)
}

/// A file that may have more, and a piece of it.
type Piece = (Option<(File, String)>, Bytes);

fn read_first(listing: &Listing, id: u32) -> Result<Piece, ServeError> {
    let index = usize::try_from(id).unwrap_or(usize::MAX);
    let unknown = || ServeError::Refused(format!("invalid file id {id}"));
    let entry = listing.entries.get(index).ok_or_else(unknown)?;
    let (folder, name) = entry.split();
    let shown = entry.shown();
    let folder = host::open_below(&listing.root, folder).at(&shown)?;
    let file = host::open_file(&folder, name).at(&shown)?;
    // What was a file when it was listed may be something else now.
    let found = host::look_opened(&file).at(&shown)?;
    if found.kind != FileKind::File {
        return Err(ServeError::Refused(format!(
            "{shown}: no regular file any more"
        )));
    }
    // One byte more than there is, so that the end is seen.
    let room = usize::try_from(found.size).map_or(READ_BYTES, |size| READ_BYTES.min(size + 1));
    Ok(read_piece((File::from(file), shown), room)?)
}

fn read_piece((mut file, shown): (File, String), room: usize) -> Result<Piece, PathError> {
    let mut data = BytesMut::zeroed(room);
    let mut filled = 0;
    while filled < data.len() {
        match file.read(&mut data[filled..]) {
            Ok(0) => {
                data.truncate(filled);
                return Ok((None, data.freeze()));
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).at(&shown),
        }
    }
    Ok((Some((file, shown)), data.freeze()))
}

impl Listing {
    /// Describes a batch of entries; of what vanished meanwhile, what was listed.
    fn describe(&self, start: usize, cancel: &CancelToken) -> Result<Vec<FileEntry>, ServeError> {
        let mut folder: Option<(&[u8], OwnedFd)> = None;
        let end = self.entries.len().min(start + BATCH);
        let mut described = Vec::with_capacity(end - start);
        for index in start..end {
            cancel.check()?;
            let entry = &self.entries[index];
            let (parent, name) = entry.split();
            if folder.as_ref().is_none_or(|(path, _)| *path != parent) {
                let opened = host::open_below(&self.root, parent).at(entry.shown())?;
                folder = Some((parent, opened));
            }
            if let Some((_, open)) = &folder {
                described.push(self.entry(index, open, name)?);
            }
        }
        Ok(described)
    }

    fn entry(&self, index: usize, folder: &OwnedFd, name: &[u8]) -> Result<FileEntry, ServeError> {
        let entry = &self.entries[index];
        let found = &entry.fingerprint;
        let link_target = match found.kind {
            FileKind::Symlink => host::symlink_target(folder, name).at(entry.shown())?,
            _ => Vec::new(),
        };
        let (uid, gid) = match self.owner {
            LocalOwner::AsIs => (found.uid, found.gid),
            LocalOwner::Fixed { uid, gid } => (uid, gid),
        };
        let hard_link = self
            .same_as
            .get(&index)
            .map(|first| self.entries[*first].path.clone());
        let has_size = matches!(found.kind, FileKind::File | FileKind::Symlink);
        let stat = Stat {
            kind: found.kind,
            mode: found.mode,
            uid,
            gid,
            size: if has_size && hard_link.is_none() {
                found.size
            } else {
                0
            },
            mtime_ns: found.mtime_ns,
            nlink: u64::from(found.links),
            link_target,
            device: device(found),
            xattrs: host::xattrs(folder, name, travels),
        };
        Ok(FileEntry {
            path: entry.path.clone(),
            stat,
            hard_link,
        })
    }
}

fn device(found: &host::Fingerprint) -> DeviceNumber {
    match found.kind {
        FileKind::CharDevice | FileKind::BlockDevice => DeviceNumber {
            major: found.node.0,
            minor: found.node.1,
        },
        _ => DeviceNumber::default(),
    }
}

/// Says whether an attribute travels with its file: those of users do, and capabilities. What the
/// overlay keeps in attributes is no part of the file.
fn travels(name: &[u8]) -> bool {
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_user || name == b"security.capability"
}
