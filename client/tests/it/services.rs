//! Secrets, credentials, sockets, uploads, blobs, and what is announced (rows SES-03, SES-04,
//! SVC-10 to SVC-19, SVC-21).

use std::sync::Arc;

use bytes::Bytes;
use lamina_client::BuildRequest;
use lamina_proto::content;
use lamina_proto::content::WriteAction;
use lamina_proto::content::WriteContentRequest;
use lamina_proto::content::content_client::ContentClient;
use lamina_proto::filesync;
use lamina_proto::filesync::auth_client::AuthClient;
use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::secrets_client::SecretsClient;
use lamina_proto::sshforward;
use lamina_proto::sshforward::ssh_client::SshClient;
use lamina_proto::upload::upload_client::UploadClient;
use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_types::Digest;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tonic::Code;
use tonic::Request;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::daemon::with_session;

fn request(session: LocalSessionBuilder) -> BuildRequest {
    BuildRequest::new(Arc::new(session.build()))
}

#[tokio::test]
async fn the_session_says_who_it_is_and_answers() {
    let session = LocalSession::builder().shared_key("key");
    let outcome = with_session(request(session), async |channel, seen| {
        let health = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await;
        assert_eq!(health.expect("is answered").into_inner().status, 1);
        let headers = seen.session_headers.lock().expect("not poisoned").clone();
        let key = headers.get("x-docker-expose-session-sharedkey");
        assert_eq!(key.expect("is sent"), "key");
        let methods = headers.get_all("x-docker-expose-session-grpc-method");
        for method in [
            "/moby.filesync.v1.FileSync/DiffCopy",
            "/moby.filesync.v1.FileSend/DiffCopy",
            "/grpc.health.v1.Health/Check",
        ] {
            assert!(methods.iter().any(|offered| offered == method), "{method}");
        }
    })
    .await;
    outcome.expect("the build succeeds");
}

#[tokio::test]
async fn secrets_and_credentials() {
    let session = LocalSession::builder().secret_bytes("known", "x");
    let outcome = with_session(request(session), async |channel: Channel, _| {
        for (id, wanted) in [
            ("known", Ok(b"x".to_vec())),
            ("unknown", Err(Code::NotFound)),
        ] {
            let get = GetSecretRequest {
                id: id.to_owned(),
                ..GetSecretRequest::default()
            };
            let found = SecretsClient::new(channel.clone()).get_secret(get).await;
            let found = found.map(|found| found.into_inner().data);
            assert_eq!(found.map_err(|status| status.code()), wanted, "{id}");
        }
        let mut auth = AuthClient::new(channel);
        let host = "registry-1.docker.io".to_owned();
        let found = auth
            .credentials(filesync::CredentialsRequest { host })
            .await;
        let anonymous = filesync::CredentialsResponse::default();
        assert_eq!(found.expect("is answered").into_inner(), anonymous);
        let token = auth
            .fetch_token(filesync::FetchTokenRequest::default())
            .await;
        assert_eq!(token.expect_err("not here").code(), Code::Unimplemented);
    })
    .await;
    outcome.expect("the build succeeds");
}

#[tokio::test]
async fn sockets_are_forwarded_both_ways() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agent.sock");
    let agent = tokio::net::UnixListener::bind(&path).expect("binds");
    let echo = tokio::spawn(async move {
        let (mut stream, _) = agent.accept().await.expect("is called");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("is read");
        let answer = format!("{text} back");
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("is written");
    });
    let session = LocalSession::builder().ssh_agent("default", &path);
    let outcome = with_session(request(session), async |channel, _| {
        let mut ssh = SshClient::new(channel);
        let check = |id: &str| sshforward::CheckAgentRequest { id: id.to_owned() };
        ssh.check_agent(check("default")).await.expect("is there");
        ssh.check_agent(check("")).await.expect("is the default");
        ssh.check_agent(check("other"))
            .await
            .expect_err("is not there");
        let data = Bytes::from_static(b"there");
        let messages = tokio_stream::once(sshforward::BytesMessage { data });
        let answer = ssh.forward_agent(messages).await.expect("is connected");
        let (mut answers, mut text) = (answer.into_inner(), Vec::new());
        while let Some(message) = answers.message().await.expect("arrives") {
            text.extend(message.data);
        }
        assert_eq!(text, b"there back");
    })
    .await;
    outcome.expect("the build succeeds");
    echo.await.expect("the agent was called");
}

#[tokio::test]
async fn uploads_are_pulled() {
    let data = vec![3; 1 << 20];
    let session = LocalSession::builder().upload("/context", data.clone());
    let outcome = with_session(request(session), async move |channel: Channel, _| {
        let mut upload = UploadClient::new(channel);
        let pull = |path: &str| {
            let mut pull = Request::new(tokio_stream::empty());
            let headers = pull.metadata_mut();
            headers.insert("urlhost", "buildkit-session".parse().expect("ASCII"));
            headers.insert("urlpath", path.parse().expect("ASCII"));
            pull
        };
        let answer = upload.pull(pull("/context")).await.expect("is there");
        let (mut answers, mut found) = (answer.into_inner(), Vec::new());
        while let Some(message) = answers.message().await.expect("arrives") {
            found.extend(message.data);
        }
        assert_eq!(found, data);
        let missing = upload.pull(pull("/other")).await;
        assert_eq!(missing.expect_err("is not there").code(), Code::NotFound);
    })
    .await;
    outcome.expect("the build succeeds");
}

fn for_store<T>(store: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = "buildkit-attachable-store-id";
    request
        .metadata_mut()
        .insert(key, store.parse().expect("ASCII"));
    request
}

fn write(digest: &Digest, offset: usize, data: &[u8], total: usize) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: "r".to_owned(),
        total: i64::try_from(total).expect("small"),
        expected: digest.to_string(),
        offset: i64::try_from(offset).expect("small"),
        data: Bytes::copy_from_slice(data),
        ..WriteContentRequest::default()
    }
}

/// Says the messages of a write and returns the last answer's offset.
async fn say(
    client: &mut ContentClient<Channel>,
    messages: Vec<WriteContentRequest>,
) -> Result<i64, Code> {
    let messages = tokio_stream::iter(messages);
    let answer = client.write(for_store("local:cache", messages)).await;
    let mut answers = answer.map_err(|status| status.code())?.into_inner();
    let mut last = 0;
    while let Some(answer) = answers.message().await.map_err(|status| status.code())? {
        last = answer.offset;
    }
    Ok(last)
}

#[tokio::test]
async fn blobs_are_written_and_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = LocalSession::builder().cache_dir("cache", dir.path());
    let outcome = with_session(request(session), async |channel: Channel, _| {
        let mut client = ContentClient::new(channel);
        let blob = b"hello world";
        let digest = Digest::of(blob);
        let stat = WriteContentRequest {
            action: WriteAction::Stat.into(),
            ..write(&digest, 0, b"", blob.len())
        };
        let commit = WriteContentRequest {
            action: WriteAction::Commit.into(),
            ..write(&digest, blob.len(), b"", blob.len())
        };
        let pieces = |bytes: &[u8]| {
            let (first, second) = bytes.split_at(5);
            vec![
                stat.clone(),
                write(&digest, 0, first, blob.len()),
                write(&digest, 5, second, blob.len()),
                commit.clone(),
            ]
        };
        for (name, messages, wanted) in [
            ("other bytes", pieces(b"HELLO WORLD"), Err(Code::Unknown)),
            (
                "a hole",
                vec![write(&digest, 3, b"x", 11)],
                Err(Code::OutOfRange),
            ),
            (
                "too many",
                vec![write(&digest, 0, b"hello world!", 11)],
                Err(Code::FailedPrecondition),
            ),
            (
                "too few",
                vec![write(&digest, 0, b"hello", 11), commit.clone()],
                Err(Code::FailedPrecondition),
            ),
            (
                "no digest",
                vec![WriteContentRequest::default()],
                Err(Code::InvalidArgument),
            ),
            ("nothing", vec![], Ok(0)),
            ("no commit", vec![write(&digest, 0, b"hello", 11)], Ok(5)),
            ("all of it", pieces(blob), Ok(11)),
            ("once more", pieces(blob), Err(Code::AlreadyExists)),
        ] {
            assert_eq!(say(&mut client, messages).await, wanted, "{name}");
        }
        read_back(&mut client, &digest).await;
    })
    .await;
    outcome.expect("the build succeeds");
}

async fn read_back(client: &mut ContentClient<Channel>, digest: &Digest) {
    let read = |offset, size| content::ReadContentRequest {
        digest: digest.to_string(),
        offset,
        size,
    };
    for (name, request, wanted) in [
        ("all", read(0, 0), Ok(&b"hello world"[..])),
        ("a part", read(6, 3), Ok(b"wor")),
        ("the end", read(11, 0), Ok(b"")),
        ("beyond", read(12, 0), Err(Code::OutOfRange)),
        ("too much", read(6, 9), Err(Code::OutOfRange)),
        ("negative", read(-1, 0), Err(Code::OutOfRange)),
    ] {
        let answer = client.read(for_store("local:cache", request)).await;
        let found = match answer {
            Ok(answer) => {
                let (mut answers, mut found) = (answer.into_inner(), Vec::new());
                while let Some(piece) = answers.message().await.expect("arrives") {
                    found.extend(piece.data);
                }
                Ok(found)
            }
            Err(status) => Err(status.code()),
        };
        assert_eq!(found, wanted.map(<[u8]>::to_vec), "{name}");
    }
    for (store, wanted) in [
        ("local:cache", None),
        ("local:other", Some(Code::NotFound)),
        ("nonsense", Some(Code::NotFound)),
        ("", Some(Code::InvalidArgument)),
    ] {
        let info = content::InfoRequest {
            digest: digest.to_string(),
        };
        let answer = client.info(for_store(store, info)).await;
        assert_eq!(answer.err().map(|status| status.code()), wanted, "{store}");
    }
}
