//! Sending the plan of a local export to a client elsewhere (row SVC-08).
//!
//! Entries go out in path order; data goes out for what the client asks for, read a bounded number
//! of bytes ahead, so that neither the size nor the number of files decides how much memory this takes
//! beyond the plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lamina_session::FileEntry;
use lamina_session::FilePiece;
use lamina_session::FileSender;
use lamina_session::FileSource;
use lamina_session::OpenFile;
use lamina_session::SessionError;
use lamina_snapshotter::Entry;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::Stat;
use rayon::iter::IntoParallelRefIterator as _;
use rayon::iter::ParallelIterator as _;

use super::plan::Plan;
use super::plan::PlannedDirectory;
use super::plan::PlannedFile;
use super::plan::RelativePath;
use crate::ExportContext;
use crate::ExportError;

/// One entry to send, and where its data comes from.
struct Outgoing {
    entry: FileEntry,
    source: Option<Entry>,
}

/// Sends everything in the plan.
///
/// # Errors
/// If a file cannot be read, which the client is told, or the client reports an error or is gone.
pub(super) async fn send(
    plan: Plan,
    mut sender: FileSender,
    context: &ExportContext,
) -> Result<(), ExportError> {
    let entries = outgoing(plan).into();
    let sent = tokio::select! {
        sent = send_all(entries, &mut sender, context) => sent,
        () = context.cancel.cancelled() => Err(Cancelled.into()),
    };
    match sent {
        Ok(()) => Ok(sender.finish().await?),
        // It was the client that failed: it knows.
        Err(error @ ExportError::Session(_)) => Err(error),
        Err(error) => {
            sender.fail(&error.to_string()).await;
            Err(error)
        }
    }
}

async fn send_all(
    entries: Arc<[Outgoing]>,
    sender: &mut FileSender,
    context: &ExportContext,
) -> Result<(), ExportError> {
    for outgoing in entries.iter() {
        sender.entry(&outgoing.entry).await?;
    }
    sender.entries_end().await?;
    sender.serve(&Files { entries, context }).await
}

/// The files of the plan.
struct Files<'a> {
    entries: Arc<[Outgoing]>,
    context: &'a ExportContext,
}

#[async_trait]
impl FileSource for Files<'_> {
    type Error = ExportError;
    type File = OpenFile;

    fn size(&self, id: u32) -> u64 {
        find(&self.entries, id).map_or(0, |outgoing| outgoing.entry.stat.size)
    }

    async fn begin(&self, ids: Vec<u32>) -> Result<Vec<FilePiece<OpenFile>>, ExportError> {
        let entries = Arc::clone(&self.entries);
        let begin = move |cancel: &CancelToken| begin(&entries, &ids, cancel);
        self.context.run(begin).await
    }

    async fn more(&self, file: OpenFile) -> Result<FilePiece<OpenFile>, ExportError> {
        let more = move |_: &CancelToken| Ok(file.next()?);
        self.context.run(more).await
    }
}

fn find(entries: &[Outgoing], id: u32) -> Result<&Outgoing, SessionError> {
    let found = usize::try_from(id).ok().and_then(|id| entries.get(id));
    found.ok_or_else(|| SessionError::Protocol(format!("entry {id} was asked for and never sent")))
}

/// Opens files and reads the first piece of each, side by side; the error is that of the first that
/// failed.
fn begin(
    entries: &[Outgoing],
    ids: &[u32],
    cancel: &CancelToken,
) -> Result<Vec<FilePiece<OpenFile>>, ExportError> {
    let read = |id: &u32| {
        cancel.check()?;
        let outgoing = find(entries, *id)?;
        let Some(source) = &outgoing.source else {
            // A further name, whose data went with the first.
            let (data, rest) = (Bytes::new(), None);
            return Ok(FilePiece { data, rest });
        };
        let path = source.path().to_string();
        let file = source.open().map_err(io::Error::other).at(&path)?;
        Ok(OpenFile::new(file, path).first(outgoing.entry.stat.size)?)
    };
    let pieces: Vec<Result<_, ExportError>> = ids.par_iter().map(read).collect();
    pieces.into_iter().collect()
}

/// Returns what is sent, in the order of the protocol: by the components of the path. Sockets stay
/// behind, and a directory that several trees have is sent once.
fn outgoing(plan: Plan) -> Vec<Outgoing> {
    let firsts: BTreeSet<&RelativePath> = plan.links.iter().map(|(_, first)| first).collect();
    let linked = plan.files.iter().filter(|f| firsts.contains(&f.path));
    let stats: BTreeMap<&RelativePath, Stat> =
        linked.map(|file| (&file.path, file_stat(file))).collect();
    let links = plan.links.iter().filter_map(|(path, first)| {
        let stat = Stat {
            size: 0,
            ..stats.get(first)?.clone()
        };
        Some(Outgoing {
            entry: FileEntry {
                path: path.clone(),
                stat,
                hard_link: Some(first.clone()),
            },
            source: None,
        })
    });
    let mut entries: Vec<Outgoing> = plan.directories.iter().map(directory).collect();
    entries.extend(links);
    entries.extend(plan.files.iter().filter_map(file));
    entries.sort_by(|a, b| components(&a.entry.path).cmp(components(&b.entry.path)));
    entries.dedup_by(|later, first| later.entry.path == first.entry.path);
    entries
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

fn directory(planned: &PlannedDirectory) -> Outgoing {
    let mut stat = planned.stat.clone().unwrap_or_else(folder_stat);
    if let Some(mtime_ns) = planned.mtime_ns {
        stat.mtime_ns = mtime_ns;
    }
    Outgoing {
        entry: FileEntry {
            path: planned.path.clone(),
            stat,
            hard_link: None,
        },
        source: None,
    }
}

fn file(planned: &PlannedFile) -> Option<Outgoing> {
    let stat = file_stat(planned);
    let is_file = stat.kind == FileKind::File;
    (stat.kind != FileKind::Socket).then(|| Outgoing {
        entry: FileEntry {
            path: planned.path.clone(),
            stat,
            hard_link: None,
        },
        source: is_file.then(|| planned.entry.clone()),
    })
}

fn file_stat(planned: &PlannedFile) -> Stat {
    Stat {
        mtime_ns: planned.mtime_ns,
        ..planned.entry.stat().clone()
    }
}

/// Describes the folder of a platform, which no tree has.
fn folder_stat() -> Stat {
    Stat::new(FileKind::Directory, 0o755)
}
