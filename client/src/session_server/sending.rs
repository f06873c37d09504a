//! Sending a directory of this host (rows SVC-02, SVC-04).
//!
//! The directory is [listed](Listing) once; then its entries go out in order while requests come in,
//! and then the data of what was requested. What comes next is read while the last is on its way.
//! Memory: the list, two batches of entries, and what [`FileSender::serve`] reads ahead.

use std::path::PathBuf;
use std::sync::Arc;

use lamina_session::FileEntry;
use lamina_session::FilePiece;
use lamina_session::FileSender;
use lamina_session::FileSource;
use lamina_session::LocalOwner;
use lamina_session::LocalRequest;
use lamina_session::OpenFile;
use tokio::sync::oneshot;
use tonic::async_trait;

use super::error::ServeError;
use super::listing::Listing;
use super::offer::Offer;

/// Entries that are described in one go.
const BATCH: usize = 256;

/// Lists a directory.
pub(super) async fn list(
    offer: &Offer,
    path: PathBuf,
    owner: LocalOwner,
    wanted: LocalRequest,
) -> Result<Arc<Listing>, ServeError> {
    let list = offer.run(move |cancel| Listing::new(&path, owner, &wanted, cancel));
    Ok(Arc::new(list.await?))
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
    let mut described = describe(offer, listing, 0).await?;
    let mut start = 0;
    while !described.is_empty() {
        start += described.len();
        let sending = async {
            for entry in &described {
                sender.entry(entry).await?;
            }
            Ok(())
        };
        ((), described) = tokio::try_join!(sending, describe(offer, listing, start))?;
    }
    sender.entries_end().await?;
    let files = Files {
        offer,
        listing: Arc::clone(listing),
    };
    sender.serve(&files).await
}

/// Describes the next entries; none at the end.
async fn describe(
    offer: &Offer,
    listing: &Arc<Listing>,
    start: usize,
) -> Result<Vec<FileEntry>, ServeError> {
    let listing = Arc::clone(listing);
    let describe = move |cancel: &_| listing.describe(start, BATCH, cancel);
    offer.run(describe).await
}

/// The files of a listing.
struct Files<'a> {
    offer: &'a Offer,
    listing: Arc<Listing>,
}

#[async_trait]
impl FileSource for Files<'_> {
    type Error = ServeError;
    type File = OpenFile;

    fn size(&self, id: u32) -> u64 {
        self.listing.size(id)
    }

    async fn begin(&self, ids: Vec<u32>) -> Result<Vec<FilePiece<OpenFile>>, ServeError> {
        let listing = Arc::clone(&self.listing);
        let read = move |cancel: &_| listing.read(&ids, cancel);
        self.offer.run(read).await
    }

    async fn more(&self, file: OpenFile) -> Result<FilePiece<OpenFile>, ServeError> {
        self.offer.run(move |_| Ok(file.next()?)).await
    }
}
