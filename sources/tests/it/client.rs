//! A client at the other end of a session, by script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use lamina_session::BlobStore;
use lamina_session::Credentials;
use lamina_session::DirectoryTarget;
use lamina_session::Duplex;
use lamina_session::FileEntry;
use lamina_session::FileReceiver;
use lamina_session::FileSender;
use lamina_session::FileTarget;
use lamina_session::LocalFiles;
use lamina_session::LocalRequest;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_session::Token;
use lamina_session::TokenRequest;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

/// One entry and its data.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) entry: FileEntry,
    pub(crate) data: Bytes,
}

impl Sent {
    pub(crate) fn new(path: &str, kind: FileKind, mode: u32) -> Self {
        let entry = FileEntry {
            path: path.as_bytes().to_vec(),
            stat: Stat {
                kind,
                mode,
                uid: 0,
                gid: 0,
                size: 0,
                mtime_ns: 1_000_000_000,
                nlink: 1,
                link_target: Vec::new(),
                device: DeviceNumber::default(),
                xattrs: BTreeMap::new(),
            },
            hard_link: None,
        };
        Self {
            entry,
            data: Bytes::new(),
        }
    }

    pub(crate) fn file(path: &str, data: impl Into<Bytes>) -> Self {
        let mut sent = Self::new(path, FileKind::File, 0o644);
        sent.data = data.into();
        sent.entry.stat.size = sent.data.len() as u64;
        sent
    }

    pub(crate) fn dir(path: &str) -> Self {
        Self::new(path, FileKind::Directory, 0o755)
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Self {
        let mut sent = Self::new(path, FileKind::Symlink, 0o777);
        sent.entry.stat.link_target = target.as_bytes().to_vec();
        sent.entry.stat.size = target.len() as u64;
        sent
    }

    pub(crate) fn hard_link(path: &str, first: &Self) -> Self {
        let mut sent = first.clone();
        sent.entry.path = path.as_bytes().to_vec();
        sent.entry.hard_link = Some(first.entry.path.clone());
        sent.data = Bytes::new();
        sent
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Stat)) -> Self {
        change(&mut self.entry.stat);
        self
    }
}

/// How the client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Manner {
    #[default]
    Honest,
    /// Sends two files at a time, in alternating pieces.
    Interleaved,
    /// Goes away in the middle of the first file.
    Dies,
    /// Reports an error instead of the first file.
    Fails,
}

/// What the client has, and what it was asked for.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) files: Vec<Sent>,
    pub(crate) manner: Manner,
    pub(crate) requested: Vec<String>,
}

/// A session whose directories come through a transfer; all else is a local session's.
pub(crate) struct RemoteClient {
    inner: LocalSession,
    pub(crate) script: Arc<Mutex<Script>>,
}

impl RemoteClient {
    pub(crate) fn new(inner: LocalSession) -> Self {
        Self {
            inner,
            script: Arc::default(),
        }
    }
}

async fn serve(mut sender: FileSender, script: Arc<Mutex<Script>>) -> Result<(), SessionError> {
    let (files, manner) = {
        let script = script.lock().expect("unpoisoned");
        (script.files.clone(), script.manner)
    };
    for sent in &files {
        sender.entry(&sent.entry).await?;
    }
    sender.entries_end().await?;
    while let Some(id) = sender.next_request().await? {
        note(&script, &files, id);
        let data = files[id as usize].data.clone();
        let half = data.len() / 2;
        match manner {
            Manner::Honest => sender.data(id, data).await?,
            Manner::Fails => {
                sender.fail("disk on fire").await;
                return Ok(());
            }
            Manner::Dies => return sender.data(id, data.slice(..half)).await,
            Manner::Interleaved => {
                sender.data(id, data.slice(..half)).await?;
                if let Some(other) = sender.next_request().await? {
                    note(&script, &files, other);
                    let data = files[other as usize].data.clone();
                    sender.data(other, data).await?;
                    sender.file_end(other).await?;
                }
                sender.data(id, data.slice(half..)).await?;
            }
        }
        sender.file_end(id).await?;
    }
    sender.finish().await
}

fn note(script: &Mutex<Script>, files: &[Sent], id: u32) {
    let path = String::from_utf8_lossy(&files[id as usize].entry.path).into_owned();
    script.lock().expect("unpoisoned").requested.push(path);
}

#[async_trait]
impl Session for RemoteClient {
    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        self.inner.shared_key().await
    }

    async fn local_files(&self, _: &LocalRequest) -> Result<LocalFiles, SessionError> {
        let (to_receiver, from_sender) = mpsc::channel(4);
        let (to_sender, from_receiver) = mpsc::channel(4);
        let packets = |incoming| {
            let next = |mut incoming: mpsc::Receiver<_>| async move {
                incoming.recv().await.map(|packet| (packet, incoming))
            };
            stream::unfold(incoming, next).map(Ok).boxed()
        };
        let sender = FileSender::new(packets(from_receiver), to_receiver);
        let script = Arc::clone(&self.script);
        // A client that misbehaves on purpose has nothing to say about it.
        tokio::spawn(async move { drop(serve(sender, script).await) });
        let receiver = FileReceiver::new(packets(from_sender), to_sender);
        Ok(LocalFiles::Remote(receiver))
    }

    async fn blobs(&self, store: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        self.inner.blobs(store).await
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        self.inner.secret(id).await
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, SessionError> {
        self.inner.credentials(host).await
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, SessionError> {
        self.inner.fetch_token(request).await
    }

    async fn check_ssh(&self, id: &str) -> Result<(), SessionError> {
        self.inner.check_ssh(id).await
    }

    async fn connect_ssh(&self, id: &str) -> Result<Box<dyn Duplex>, SessionError> {
        self.inner.connect_ssh(id).await
    }

    async fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        self.inner.upload(host, path).await
    }

    async fn file_target(
        &self,
        exporter: usize,
        response: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        self.inner.file_target(exporter, response).await
    }

    async fn directory_target(
        &self,
        exporter: usize,
        by_platform: bool,
    ) -> Result<DirectoryTarget, SessionError> {
        self.inner.directory_target(exporter, by_platform).await
    }
}
