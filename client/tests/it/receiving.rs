//! Results of builds (rows SVC-08, SVC-09).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lamina_client::BuildRequest;
use lamina_proto::filesync::BytesMessage;
use lamina_proto::filesync::file_send_client::FileSendClient;
use lamina_proto::fsutil::Packet;
use lamina_session::FileEntry;
use lamina_session::FileSender;
use lamina_session::LocalSession;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::Stat;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Status;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::daemon::with_session;

const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";

pub(crate) fn into_directory(dir: &Path, mode: &str) -> BuildRequest {
    let session = LocalSession::builder().directory_target(0, dir).build();
    let mut request = BuildRequest::new(Arc::new(session));
    let attrs = [("mode".to_owned(), mode.to_owned())];
    request.exports.push(("local".to_owned(), attrs.into()));
    request
}

fn into_file(path: &Path) -> BuildRequest {
    let session = LocalSession::builder().file_target(0, path).build();
    BuildRequest::new(Arc::new(session))
}

/// Opens a transfer of packets as daemons do.
pub(crate) async fn send_packets(
    channel: Channel,
    packets: mpsc::Receiver<Packet>,
    whole: bool,
) -> Result<Streaming<Packet>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let mut request = Request::new(ReceiverStream::new(packets));
    let headers = request.metadata_mut();
    headers.insert(
        "buildkit-attachable-exporter-id",
        "0".parse().expect("ASCII"),
    );
    if whole {
        headers.insert(
            "buildkit-exporter-multi-platform",
            "1".parse().expect("ASCII"),
        );
    }
    let path = http::uri::PathAndQuery::from_static(METHOD);
    let codec = ProstCodec::<Packet, Packet>::default();
    Ok(grpc.streaming(request, path, codec).await?.into_inner())
}

pub(crate) fn entry(path: &str, kind: FileKind, mode: u32) -> FileEntry {
    FileEntry {
        path: path.as_bytes().to_vec(),
        stat: Stat {
            kind,
            mode,
            uid: 12345,
            gid: 12345,
            size: 0,
            mtime_ns: 1_500_000_000_000_000_000,
            nlink: 1,
            link_target: Vec::new(),
            device: DeviceNumber::default(),
            xattrs: BTreeMap::new(),
        },
        hard_link: None,
    }
}

/// Sends a tree whose files hold their own paths.
async fn send_tree(channel: Channel, entries: Vec<FileEntry>, whole: bool) -> Result<(), Status> {
    let (sink, packets) = mpsc::channel(16);
    let answers = send_packets(channel, packets, whole).await?;
    let mut sender = FileSender::new(Box::pin(answers), sink);
    let failed = |error: lamina_session::SessionError| Status::unknown(error.to_string());
    for entry in &entries {
        sender.entry(entry).await.map_err(failed)?;
    }
    sender.entries_end().await.map_err(failed)?;
    while let Some(id) = sender.next_request().await.map_err(failed)? {
        let entry = &entries[usize::try_from(id).expect("small")];
        let data = Bytes::copy_from_slice(&entry.path);
        sender.data(id, data).await.map_err(failed)?;
        sender.file_end(id).await.map_err(failed)?;
    }
    sender.finish().await.map_err(failed)
}

fn link(path: &str, target: &str) -> FileEntry {
    let mut entry = entry(path, FileKind::Symlink, 0o777);
    entry.stat.link_target = target.as_bytes().to_vec();
    entry
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("is there")
}

#[tokio::test]
async fn a_tree_replaces_what_is_in_its_way_and_follows_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (target, outside) = (dir.path().join("out"), dir.path().join("outside"));
    std::fs::create_dir_all(target.join("file/full")).expect("made");
    std::fs::write(target.join("file/full/x"), "x").expect("written");
    std::fs::write(target.join("kept"), "kept").expect("written");
    std::fs::create_dir(&outside).expect("made");
    std::os::unix::fs::symlink(&outside, target.join("d")).expect("linked");
    std::os::unix::fs::symlink(outside.join("f"), target.join("other")).expect("linked");
    let outcome = with_session(into_directory(&target, "copy"), async |channel, _| {
        let mut further = entry("z", FileKind::File, 0o640);
        further.hard_link = Some(b"d/a".to_vec());
        let entries = vec![
            entry("d", FileKind::Directory, 0o751),
            entry("d/a", FileKind::File, 0o640),
            entry("file", FileKind::File, 0o600),
            link("link", "/etc/passwd"),
            entry("other", FileKind::File, 0o600),
            further,
        ];
        send_tree(channel, entries, false)
            .await
            .expect("is received");
    })
    .await;
    outcome.expect("the build succeeds");
    for (path, data) in [
        ("d/a", "d/a"),
        ("file", "file"),
        ("other", "other"),
        ("z", "d/a"),
        ("kept", "kept"),
    ] {
        assert_eq!(read(&target.join(path)), data, "{path}");
    }
    assert_eq!(std::fs::read_dir(&outside).expect("is there").count(), 0);
    let made = std::fs::symlink_metadata(target.join("d")).expect("is there");
    assert_eq!((made.mode() & 0o7777, made.mtime()), (0o751, 1_500_000_000));
    let own = rustix::process::geteuid().as_raw();
    let file = std::fs::metadata(target.join("d/a")).expect("is there");
    assert_eq!(
        (file.uid(), file.nlink()),
        (own, 2),
        "files are the caller's"
    );
    let linked = std::fs::read_link(target.join("link")).expect("is a link");
    assert_eq!(linked, Path::new("/etc/passwd"));
}

/// More entries than are written in one go, with a file that is larger than what is buffered.
#[tokio::test]
async fn a_tree_of_many_small_files_arrives_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut entries = Vec::new();
    for folder in 0..40 {
        entries.push(entry(&format!("{folder:02}"), FileKind::Directory, 0o555));
        for name in 0..30 {
            entries.push(entry(
                &format!("{folder:02}/{name:02}"),
                FileKind::File,
                0o444,
            ));
        }
        entries.push(link(&format!("{folder:02}/link"), "00"));
    }
    let sent = entries.clone();
    let request = into_directory(dir.path(), "copy");
    let outcome = with_session(request, async |channel, _| {
        send_tree(channel, sent, false).await.expect("is received");
    })
    .await;
    outcome.expect("the build succeeds");
    for entry in &entries {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let path = dir.path().join(&shown);
        let made = std::fs::symlink_metadata(&path).expect("is there");
        let is_link = entry.stat.kind == FileKind::Symlink;
        assert!(
            is_link || made.mode() & 0o7777 == entry.stat.mode,
            "{shown}"
        );
        assert_eq!(made.mtime(), 1_500_000_000, "{shown}");
        if entry.stat.kind == FileKind::File {
            assert_eq!(read(&path), shown);
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 40);
}

#[tokio::test]
async fn mirroring_removes_the_rest() {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("out");
    std::fs::create_dir_all(target.join("old/deep")).expect("made");
    std::fs::create_dir_all(target.join("d")).expect("made");
    std::fs::write(target.join("d/old"), "x").expect("written");
    let outcome = with_session(into_directory(&target, "delete"), async |channel, _| {
        let tree = || {
            vec![
                entry("d", FileKind::Directory, 0o755),
                entry("d/new", FileKind::File, 0o644),
            ]
        };
        let refused = send_tree(channel.clone(), tree(), false).await;
        let text = refused
            .expect_err("may be a part only")
            .message()
            .to_owned();
        assert!(text.contains("mode=delete"), "{text}");
        send_tree(channel, tree(), true).await.expect("is received");
    })
    .await;
    outcome.expect("the build succeeds");
    assert_eq!(read(&target.join("d/new")), "d/new");
    assert!(!target.join("d/old").exists() && !target.join("old").exists());
}

async fn send_file(channel: Channel, pieces: mpsc::Receiver<BytesMessage>) -> Result<(), Status> {
    let mut request = Request::new(ReceiverStream::new(pieces));
    let headers = request.metadata_mut();
    headers.insert("exporter-md-k", "v".parse().expect("ASCII"));
    let answer = FileSendClient::new(channel).diff_copy(request).await?;
    let mut answers = answer.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn a_file_shows_when_it_is_complete() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.tar");
    let shown = path.clone();
    let outcome = with_session(into_file(&path), async move |channel, _| {
        let (sink, pieces) = mpsc::channel(4);
        let send = tokio::spawn(send_file(channel, pieces));
        for _ in 0..3 {
            let data = Bytes::from(vec![5; 1 << 20]);
            sink.send(BytesMessage { data }).await.expect("is taken");
        }
        assert!(!shown.exists(), "not before the end");
        drop(sink);
        send.await.expect("runs").expect("is received");
        assert!(shown.exists(), "as soon as the client says so");
    })
    .await;
    outcome.expect("the build succeeds");
    assert_eq!(std::fs::metadata(&path).expect("is there").len(), 3 << 20);
}

#[tokio::test]
async fn a_daemon_that_dies_leaves_no_part_of_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.tar");
    let outcome = with_session(into_file(&path), async |channel, _| {
        let (sink, pieces) = mpsc::channel(4);
        let send = tokio::spawn(send_file(channel, pieces));
        let data = Bytes::from(vec![5; 1 << 20]);
        sink.send(BytesMessage { data }).await.expect("is taken");
        send.abort();
        assert!(send.await.is_err());
        drop(sink);
    })
    .await;
    outcome.expect("the build succeeds");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What is no number must not become the first exporter, whose place is another's (row SVC-08).
#[tokio::test]
async fn exporters_without_a_number_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.tar");
    let outcome = with_session(into_file(&path), async |channel, _| {
        for id in ["x", "-1", "99999999999999999999999"] {
            let mut request = Request::new(futures_util::stream::empty::<BytesMessage>());
            let value = id.parse().expect("ASCII");
            let headers = request.metadata_mut();
            headers.insert("buildkit-attachable-exporter-id", value);
            let mut client = FileSendClient::new(channel.clone());
            let refused = client.diff_copy(request).await.expect_err("no number");
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{id}");
        }
    })
    .await;
    outcome.expect("the build succeeds");
    assert!(!path.exists());
}

#[tokio::test]
async fn exporters_without_a_place_are_refused() {
    let session = LocalSession::builder().build();
    let request = BuildRequest::new(Arc::new(session));
    let outcome = with_session(request, async |channel, _| {
        let (_sink, pieces) = mpsc::channel(1);
        let refused = send_file(channel, pieces).await.expect_err("no place");
        assert_eq!(refused.code(), tonic::Code::NotFound);
    })
    .await;
    outcome.expect("the build succeeds");
}
