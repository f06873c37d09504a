//! Daemons that want more than they are offered, or do not play along.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamina_client::BuildRequest;
use lamina_proto::filesync::file_sync_client::FileSyncClient;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::Stat;
use lamina_proto::fsutil::packet::PacketType;
use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::secrets_client::SecretsClient;
use lamina_proto::sshforward;
use lamina_proto::sshforward::ssh_client::SshClient;
use lamina_session::LocalSession;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;

use crate::daemon::with_session;
use crate::receiving::into_directory;
use crate::receiving::send_packets;
use crate::sending::offering;
use crate::sending::open;
use crate::sending::receive;

#[tokio::test]
async fn paths_outside_the_directory_are_not_read() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("secret"), "secret").expect("written");
    let context = dir.path().join("context");
    std::fs::create_dir(&context).expect("made");
    std::fs::write(context.join("a"), "a").expect("written");
    std::os::unix::fs::symlink("..", context.join("up")).expect("linked");
    let outcome = with_session(offering(&context), async |channel: Channel, _| {
        for (name, key, value) in [
            ("follow up", "followpaths", "../secret"),
            ("follow a link up", "followpaths", "up/secret"),
            ("include up", "include-patterns", "../**"),
            ("include through a link", "include-patterns", "up/**"),
            ("take back", "exclude-patterns", "!../secret"),
        ] {
            let headers = [("dir-name", "context"), (key, value)];
            let receiver = open(channel.clone(), &headers).await.expect("is offered");
            let received = receive(receiver).await.expect("arrives");
            for (entry, data) in received {
                assert!(
                    [&b"a"[..], b"up"].contains(&&entry.path[..]),
                    "{name}: {entry:?}"
                );
                assert_ne!(data, b"secret", "{name}");
            }
        }
        for name in ["", "..", "/", "contex", "context/.."] {
            let refused = open(channel.clone(), &[("dir-name", name)]).await;
            let refused = refused.expect_err("is not offered");
            assert_eq!(refused.code(), Code::NotFound, "{name}");
            assert!(refused.message().starts_with("no access allowed to dir"));
        }
    })
    .await;
    outcome.expect("the build succeeds");
}

fn packet(kind: PacketType, id: u32, path: Option<&str>) -> Packet {
    Packet {
        r#type: kind.into(),
        id,
        stat: path.map(|path| Stat {
            path: path.to_owned(),
            mode: 0o644,
            ..Stat::default()
        }),
        ..Packet::default()
    }
}

/// Sends packets and returns how the client ends the transfer.
async fn end_of(channel: Channel, packets: Vec<Packet>) -> Option<Status> {
    let (sink, stream) = mpsc::channel(16);
    let mut answers = send_packets(channel, stream, true).await.ok()?;
    for packet in packets {
        if sink.send(packet).await.is_err() {
            break;
        }
    }
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

#[tokio::test]
async fn results_do_not_leave_their_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("a/out");
    let outcome = with_session(
        into_directory(&target, "copy"),
        async |channel: Channel, _| {
            use PacketType::PacketData;
            use PacketType::PacketStat;
            let stat = |path| packet(PacketStat, 0, Some(path));
            let mut escaping_link = stat("z");
            escaping_link.stat.as_mut().expect("is there").linkname = "../../evil".to_owned();
            let mut data = packet(PacketData, 0, None);
            data.data = vec![1].into();
            for (name, packets) in [
                ("up", vec![stat("../evil")]),
                ("absolute", vec![stat("/evil")]),
                ("hidden up", vec![stat("a/../../evil")]),
                ("dot", vec![stat(".")]),
                ("twice", vec![stat("b"), stat("b")]),
                ("out of order", vec![stat("b"), stat("a")]),
                ("a link out", vec![stat("b"), escaping_link]),
                ("data that nobody wants", vec![data]),
                (
                    "no such packet",
                    vec![packet(PacketType::PacketReq, 0, None)],
                ),
            ] {
                let refused = end_of(channel.clone(), packets).await;
                assert!(refused.is_some(), "{name} is refused");
            }
        },
    )
    .await;
    outcome.expect("the build succeeds");
    let outside = std::fs::read_dir(dir.path()).expect("is there").count();
    let beside = std::fs::read_dir(dir.path().join("a"))
        .expect("is there")
        .count();
    assert_eq!((outside, beside), (1, 1));
}

#[tokio::test]
async fn requests_that_make_no_sense_end_the_transfer() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("d")).expect("made");
    std::fs::write(dir.path().join("f"), "f").expect("written");
    let outcome = with_session(offering(dir.path()), async |channel: Channel, _| {
        for (name, ids) in [
            ("a directory", vec![0]),
            ("out of range", vec![7]),
            ("the largest", vec![u32::MAX]),
            ("twice", vec![1, 1]),
        ] {
            let (sink, packets) = mpsc::channel(16);
            let mut request = Request::new(ReceiverStream::new(packets));
            let value = "context".parse().expect("ASCII");
            request.metadata_mut().insert("dir-name", value);
            let answer = FileSyncClient::new(channel.clone())
                .diff_copy(request)
                .await;
            let mut answers = answer.expect("is offered").into_inner();
            // The list comes first: two entries and its end.
            for _ in 0..3 {
                answers.message().await.expect("arrives").expect("a packet");
            }
            for id in ids {
                let request = packet(PacketType::PacketReq, id, None);
                sink.send(request).await.expect("is taken");
            }
            let mut told = false;
            let status = loop {
                match answers.message().await {
                    Ok(Some(packet)) => told |= packet.r#type == i32::from(PacketType::PacketErr),
                    Ok(None) => panic!("{name}: an end without a reason"),
                    Err(status) => break status,
                }
            };
            assert!(told, "{name}: also in the protocol's own way");
            assert!(
                status.message().contains("invalid file id"),
                "{name}: {status}"
            );
        }
    })
    .await;
    outcome.expect("the build succeeds");
}

/// The h2 crate closes a connection on which too many small frames are unread: a stream may be full
/// of the smallest there are, and the session goes on.
#[tokio::test]
async fn a_stream_of_small_messages_that_nobody_reads_fills_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("binds");
    let session = LocalSession::builder()
        .ssh_agent("default", &socket)
        .secret_bytes("token", "x");
    let request = BuildRequest::new(Arc::new(session.build()));
    let outcome = with_session(request, async |channel: Channel, _| {
        let byte = || sshforward::BytesMessage {
            data: Bytes::from_static(b"x"),
        };
        // One message of room: each goes out in a frame of its own.
        let (sink, messages) = mpsc::channel(1);
        let mut ssh = SshClient::new(channel.clone());
        let forwarded = ssh.forward_agent(ReceiverStream::new(messages)).await;
        let _forwarded = forwarded.expect("is offered");
        let mut sent = 0;
        let full = Duration::from_secs(1);
        while let Ok(taken) = tokio::time::timeout(full, sink.send(byte())).await {
            taken.expect("the session is not closed");
            sent += 1;
            assert!(sent < 1 << 20, "the stream takes whatever comes");
        }
        let get = GetSecretRequest {
            id: "token".to_owned(),
            ..GetSecretRequest::default()
        };
        let secret = SecretsClient::new(channel).get_secret(get).await;
        assert_eq!(secret.expect("is answered").into_inner().data, b"x");
    })
    .await;
    outcome.expect("the build succeeds");
    drop(listener);
}

/// A stream that nobody reads must not hold up the others, fill the memory, or keep the session
/// from ending.
#[tokio::test]
async fn a_daemon_that_stops_reading_harms_itself_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let large = std::fs::File::create(dir.path().join("large")).expect("made");
    large.set_len(4 << 30).expect("a sparse file");
    let session = LocalSession::builder()
        .local_dir("context", dir.path())
        .secret_bytes("token", "x")
        .build();
    let request = BuildRequest::new(Arc::new(session));
    let outcome = with_session(request, async |channel: Channel, _| {
        let receiver = open(channel.clone(), &[("dir-name", "context")]).await;
        let mut receiver = receiver.expect("is offered");
        receiver.next().await.expect("arrives").expect("the file");
        receiver.request(0).await.expect("is asked for");
        receiver
            .next()
            .await
            .expect("arrives")
            .expect("the end of the list");
        receiver
            .next()
            .await
            .expect("arrives")
            .expect("the first data");
        // From here on nobody reads the stream.
        let get = GetSecretRequest {
            id: "token".to_owned(),
            ..GetSecretRequest::default()
        };
        let secret = SecretsClient::new(channel).get_secret(get).await;
        assert_eq!(secret.expect("is answered").into_inner().data, b"x");
        // The build ends with the transfer half way.
        std::mem::forget(receiver);
    })
    .await;
    outcome.expect("the build succeeds");
}
