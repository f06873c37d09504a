//! Sending the plan of a local export to a client elsewhere (row SVC-08).
//!
//! Entries go out in path order; data goes out for what the client asks for, a piece at a time, so
//! that neither the size nor the number of files decides how much memory this takes beyond the plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::Read as _;

use bytes::Bytes;
use lamina_session::DATA_BYTES;
use lamina_session::FileEntry;
use lamina_session::FileSender;
use lamina_session::SessionError;
use lamina_snapshotter::Entry;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::Stat;

use super::plan::Plan;
use super::plan::PlannedDirectory;
use super::plan::PlannedFile;
use super::plan::RelativePath;
use crate::ExportContext;
use crate::ExportError;

/// Read in one go: small files take one piece of work on the pool.
const READ_BYTES: usize = 8 * DATA_BYTES;

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
    let entries = outgoing(plan);
    let sent = tokio::select! {
        sent = send_all(&entries, &mut sender, context) => sent,
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
    entries: &[Outgoing],
    sender: &mut FileSender,
    context: &ExportContext,
) -> Result<(), ExportError> {
    for outgoing in entries {
        sender.entry(&outgoing.entry).await?;
    }
    sender.entries_end().await?;
    while let Some(id) = sender.next_request().await? {
        let wanted = usize::try_from(id).ok().and_then(|id| entries.get(id));
        let wanted = wanted.ok_or_else(|| {
            SessionError::Protocol(format!("entry {id} was asked for and never sent"))
        })?;
        if let Some(source) = &wanted.source {
            send_data(id, source, sender, context).await?;
        }
        sender.file_end(id).await?;
    }
    Ok(())
}

/// Sends the data of one file.
async fn send_data(
    id: u32,
    source: &Entry,
    sender: &mut FileSender,
    context: &ExportContext,
) -> Result<(), ExportError> {
    let mut reading = Reading::Unopened(source.clone());
    loop {
        let read = move |_: &CancelToken| reading.next().map_err(ExportError::from);
        let (data, rest) = context.blocking.run(&context.cancel, read).await?;
        for piece in data.chunks(DATA_BYTES) {
            sender.data(id, Bytes::copy_from_slice(piece)).await?;
        }
        match rest {
            Some(rest) => reading = rest,
            None => return Ok(()),
        }
    }
}

/// A file being read on the pool.
enum Reading {
    Unopened(Entry),
    Open(File, String),
}

impl Reading {
    /// Returns the next bytes, and the rest unless that is all.
    fn next(self) -> Result<(Vec<u8>, Option<Self>), PathError> {
        let (file, path) = match self {
            Self::Open(file, path) => (file, path),
            Self::Unopened(entry) => {
                let path = entry.path().to_string();
                let file = entry.open().map_err(io::Error::other).at(&path)?;
                (file, path)
            }
        };
        let mut data = Vec::new();
        let mut limited = file.take(READ_BYTES as u64);
        limited.read_to_end(&mut data).at(&path)?;
        let is_full = data.len() == READ_BYTES;
        let rest = is_full.then(|| Self::Open(limited.into_inner(), path));
        Ok((data, rest))
    }
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
