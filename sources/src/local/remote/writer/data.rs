//! Data of files that are on their way, many at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;

use bytes::Bytes;
use lamina_session::host::HostEntry;
use lamina_snapshotter::FileDigester;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Upper;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rayon::prelude::*;
use tokio::sync::OwnedSemaphorePermit;

use crate::SourceError;
use crate::report::Action;

/// Directories that stay open for the files to come.
const OPEN_DIRECTORIES: usize = 128;

/// A file that was announced and is not complete.
struct Pending {
    path: Vec<u8>,
    mode: u32,
    size: u64,
    change: MetadataChange,
    /// Hashes what is written, until the file is complete.
    digester: Option<FileDigester>,
    /// Of its entry in the index.
    position: usize,
    /// Made with the first data.
    open: Option<(WriteDir, File)>,
    written: u64,
    /// What came since the last write.
    pieces: Vec<(Bytes, OwnedSemaphorePermit)>,
    ended: bool,
}

/// A file that is complete.
pub(super) struct Complete {
    pub(super) position: usize,
    /// It is as long as was announced; if not, the client changed it meanwhile.
    pub(super) as_announced: bool,
}

/// The files that are on their way.
pub(super) struct Incoming {
    upper: Upper,
    pending: HashMap<u32, Pending>,
    /// Those with something to write.
    ready: Vec<u32>,
    directories: HashMap<Vec<u8>, WriteDir>,
}

impl Incoming {
    pub(super) fn new(upper: Upper) -> Self {
        Self {
            upper,
            pending: HashMap::new(),
            ready: Vec::new(),
            directories: HashMap::new(),
        }
    }

    /// Announces a file.
    pub(super) fn expect(
        &mut self,
        id: u32,
        entry: &HostEntry,
        change: MetadataChange,
        position: usize,
    ) {
        let (mode, size) = (entry.fingerprint.mode, entry.fingerprint.size);
        let pending = Pending {
            path: entry.path.clone(),
            mode,
            size,
            digester: Some(FileDigester::new(mode, size, &change)),
            change,
            position,
            open: None,
            written: 0,
            pieces: Vec::new(),
            ended: false,
        };
        self.pending.insert(id, pending);
    }

    pub(super) fn data(&mut self, id: u32, data: Bytes, held: OwnedSemaphorePermit) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.pieces.push((data, held));
            self.ready.push(id);
        }
    }

    pub(super) fn end(&mut self, id: u32) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.ended = true;
            self.ready.push(id);
        }
    }

    /// Writes what came, several files at a time; returns those that are complete now.
    pub(super) fn write(
        &mut self,
        action: &Action,
        cancel: &CancelToken,
    ) -> Result<Vec<Complete>, SourceError> {
        let mut work = Vec::new();
        for id in std::mem::take(&mut self.ready) {
            if let Some(mut pending) = self.pending.remove(&id) {
                self.open(&mut pending)?;
                work.push((id, pending));
            }
        }
        let written: Vec<(u32, Pending)> = work
            .into_par_iter()
            .map(|(id, mut pending)| {
                cancel.check()?;
                pending.write(action)?;
                Ok::<_, SourceError>((id, pending))
            })
            .collect::<Result<_, _>>()?;
        let mut complete = Vec::new();
        for (id, pending) in written {
            if pending.ended {
                complete.push(Complete {
                    position: pending.position,
                    as_announced: pending.written == pending.size,
                });
            } else {
                self.pending.insert(id, pending);
            }
        }
        Ok(complete)
    }

    /// Makes the file when its first data is there: files that wait need no descriptor.
    fn open(&mut self, pending: &mut Pending) -> Result<(), SourceError> {
        if pending.open.is_some() {
            return Ok(());
        }
        let (folder, name) = lamina_session::host::split(&pending.path);
        let directory = match self.directories.get(folder) {
            Some(directory) => directory.clone(),
            None => {
                let directory = self.upper.dir(&RootedPath::new(folder))?;
                if self.directories.len() >= OPEN_DIRECTORIES {
                    self.directories.clear();
                }
                self.directories.insert(folder.to_vec(), directory.clone());
                directory
            }
        };
        let file = directory.create_file(name, pending.mode)?;
        pending.open = Some((directory, file));
        Ok(())
    }
}

impl Pending {
    fn write(&mut self, action: &Action) -> Result<(), SourceError> {
        let Some((directory, file)) = &mut self.open else {
            return Ok(());
        };
        for (data, held) in self.pieces.drain(..) {
            file.write_all(&data)
                .at(String::from_utf8_lossy(&self.path))?;
            if let Some(digester) = &mut self.digester {
                digester.update(&data);
            }
            self.written += data.len() as u64;
            action.add(data.len() as u64);
            drop(held);
        }
        if self.ended
            && let Some(digester) = self.digester.take()
        {
            directory.finish_file(file, &self.change, digester)?;
        }
        Ok(())
    }
}
