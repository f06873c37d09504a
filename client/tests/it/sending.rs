//! Directories for local sources (rows SVC-01 to SVC-06).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_proto::filesync::file_sync_client::FileSyncClient;
use lamina_session::FileEntry;
use lamina_session::FileReceiver;
use lamina_session::LocalSession;
use lamina_session::Received;
use lamina_session::SessionError;
use lamina_types::FileKind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;

use crate::daemon::with_session;

/// Larger than what is read in one go.
const LARGE: usize = (3 << 20) + 17;

fn tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("d/skip")).expect("made");
    std::fs::write(dir.join("d/a"), "a").expect("written");
    std::fs::write(dir.join("d/skip/x"), "x").expect("written");
    std::fs::write(dir.join("empty"), "").expect("written");
    std::fs::write(dir.join("large"), vec![7; LARGE]).expect("written");
    std::fs::hard_link(dir.join("d/a"), dir.join("z-link")).expect("linked");
    std::os::unix::fs::symlink("d/a", dir.join("symlink")).expect("linked");
    let mode = std::fs::Permissions::from_mode(0o4751);
    std::fs::set_permissions(dir.join("empty"), mode).expect("set");
}

pub(crate) fn offering(dir: &Path) -> BuildRequest {
    let session = LocalSession::builder().local_dir("context", dir).build();
    BuildRequest::new(Arc::new(session))
}

/// Opens a transfer as daemons do.
pub(crate) async fn open(
    channel: Channel,
    headers: &[(&str, &str)],
) -> Result<FileReceiver, Status> {
    let (sink, packets) = mpsc::channel(64);
    let mut request = Request::new(ReceiverStream::new(packets));
    for (key, value) in headers {
        let key = tonic::metadata::AsciiMetadataKey::from_bytes(key.as_bytes()).expect("a key");
        request
            .metadata_mut()
            .append(key, value.parse().expect("ASCII"));
    }
    let answer = FileSyncClient::new(channel).diff_copy(request).await?;
    Ok(FileReceiver::new(Box::pin(answer.into_inner()), sink))
}

/// Receives everything, asking for all data.
pub(crate) async fn receive(
    mut receiver: FileReceiver,
) -> Result<Vec<(FileEntry, Vec<u8>)>, SessionError> {
    let (mut entries, mut data) = (Vec::<FileEntry>::new(), BTreeMap::<u32, Vec<u8>>::new());
    let (mut open, mut ended) = (0, false);
    while !ended || open > 0 {
        match receiver.next().await?.expect("the sender waits for us") {
            Received::Entry(entry) => {
                let id = u32::try_from(entries.len()).expect("few");
                if entry.stat.kind == FileKind::File && entry.hard_link.is_none() {
                    receiver.request(id).await?;
                    open += 1;
                }
                entries.push(entry);
            }
            Received::EntriesEnd => ended = true,
            Received::Data { id, data: piece } => data.entry(id).or_default().extend(piece),
            Received::FileEnd { .. } => open -= 1,
        }
    }
    receiver.finish().await?;
    let entries = entries.into_iter().zip(0..);
    Ok(entries
        .map(|(entry, id)| (entry, data.remove(&id).unwrap_or_default()))
        .collect())
}

fn paths(received: &[(FileEntry, Vec<u8>)]) -> Vec<String> {
    let path = |(entry, _): &(FileEntry, _)| String::from_utf8_lossy(&entry.path).into_owned();
    received.iter().map(path).collect()
}

#[tokio::test]
async fn a_directory_arrives_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    tree(dir.path());
    let outcome = with_session(offering(dir.path()), async |channel, _| {
        let headers = [("dir-name", "context"), ("exclude-patterns", "**/skip")];
        let receiver = open(channel, &headers).await.expect("is offered");
        let received = receive(receiver).await.expect("arrives");
        let wanted = ["d", "d/a", "empty", "large", "symlink", "z-link"];
        assert_eq!(paths(&received), wanted);
        let data: Vec<usize> = received.iter().map(|(_, data)| data.len()).collect();
        assert_eq!(data, [0, 1, 0, LARGE, 0, 0]);
        assert!(received[3].1.iter().all(|byte| *byte == 7));
        let (entries, _): (Vec<_>, Vec<_>) = received.into_iter().unzip();
        assert!(entries.iter().all(|e| (e.stat.uid, e.stat.gid) == (0, 0)));
        assert_eq!(entries[2].stat.mode, 0o4751);
        assert_eq!(entries[4].stat.link_target, b"d/a");
        assert_eq!(entries[5].hard_link.as_deref(), Some(&b"d/a"[..]));
    })
    .await;
    outcome.expect("the build succeeds");
}

/// Row SVC-03: a daemon that has everything asks for nothing.
#[tokio::test]
async fn nothing_is_read_that_nobody_asks_for() {
    let dir = tempfile::tempdir().expect("a folder");
    tree(dir.path());
    let outcome = with_session(offering(dir.path()), async |channel, _| {
        let receiver = open(channel, &[("dir-name", "context")]).await;
        let mut receiver = receiver.expect("is offered");
        while receiver.next().await.expect("arrives") != Some(Received::EntriesEnd) {}
        receiver.finish().await.expect("the sender agrees");
    })
    .await;
    outcome.expect("the build succeeds");
}

#[tokio::test]
async fn names_beyond_ascii_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("ä b"), "x").expect("written");
    std::fs::write(dir.path().join("other"), "x").expect("written");
    let outcome = with_session(offering(dir.path()), async |channel, _| {
        let headers = [
            ("dir-name", "context"),
            ("include-patterns", "%C3%A4+b"),
            ("include-patterns-encoded", "1"),
        ];
        let receiver = open(channel, &headers).await.expect("is offered");
        let received = receive(receiver).await.expect("arrives");
        assert_eq!(paths(&received), ["ä b"]);
    })
    .await;
    outcome.expect("the build succeeds");
}
