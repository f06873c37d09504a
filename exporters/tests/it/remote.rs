//! A client at the other end of a wire (rows SVC-08, ELO-02, ELO-03).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lamina_exporters::ExportError;
use lamina_exporters::ExportInput;
use lamina_exporters::parse;
use lamina_proto::fsutil::Packet;
use lamina_session::BlobStore;
use lamina_session::Credentials;
use lamina_session::DirectoryTarget;
use lamina_session::Duplex;
use lamina_session::FileReceiver;
use lamina_session::FileSender;
use lamina_session::FileTarget;
use lamina_session::LocalFiles;
use lamina_session::LocalRequest;
use lamina_session::LocalSession;
use lamina_session::PacketStream;
use lamina_session::Received;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_session::Token;
use lamina_session::TokenRequest;
use lamina_types::FileKind;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use crate::support::Fixture;
use crate::support::attrs_of;

/// Offers a directory over channels and nothing else.
#[derive(Default)]
struct Client {
    sender: Mutex<Option<FileSender>>,
    mirrors: Mutex<Option<bool>>,
}

fn packets(mut receiver: mpsc::Receiver<Packet>) -> PacketStream {
    futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
        .map(Ok)
        .boxed()
}

impl Client {
    fn new() -> (Arc<Self>, FileReceiver) {
        let (to_receiver, from_sender) = mpsc::channel(2);
        let (to_sender, from_receiver) = mpsc::channel(2);
        let client = Self::default();
        let sender = FileSender::new(packets(from_receiver), to_receiver);
        *client.sender.lock().expect("is free") = Some(sender);
        let receiver = FileReceiver::new(packets(from_sender), to_sender);
        (Arc::new(client), receiver)
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &str {
        "client"
    }

    async fn shared_key(&self) -> Result<String, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn local_files(&self, _: &LocalRequest) -> Result<LocalFiles, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn blobs(&self, _: &StoreId) -> Result<Arc<dyn BlobStore>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn secret(&self, _: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn check_ssh(&self, _: &str) -> Result<(), SessionError> {
        Err(SessionError::NoSession)
    }

    async fn connect_ssh(&self, _: &str) -> Result<Box<dyn Duplex>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn upload(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn file_target(
        &self,
        _: usize,
        _: &BTreeMap<String, String>,
    ) -> Result<Box<dyn FileTarget>, SessionError> {
        Err(SessionError::NoSession)
    }

    async fn directory_target(
        &self,
        _: usize,
        by_platform: bool,
    ) -> Result<DirectoryTarget, SessionError> {
        *self.mirrors.lock().expect("is free") = Some(by_platform);
        let sender = self.sender.lock().expect("is free").take();
        sender
            .map(DirectoryTarget::Remote)
            .ok_or(SessionError::NoSession)
    }
}

/// Takes everything; returns a line for each entry.
async fn receive(mut receiver: FileReceiver) -> Result<Vec<String>, SessionError> {
    let mut lines = Vec::new();
    let mut missing = 0;
    let mut ended = false;
    while let Some(received) = receiver.next().await? {
        match received {
            Received::Entry(entry) => {
                let id = u32::try_from(lines.len()).expect("few");
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                lines.push(match (&entry.hard_link, entry.stat.kind) {
                    (Some(first), _) => format!("{path} = {}", String::from_utf8_lossy(first)),
                    (None, FileKind::Directory) => format!("{path}/"),
                    (None, FileKind::Symlink) => {
                        format!(
                            "{path} -> {}",
                            String::from_utf8_lossy(&entry.stat.link_target)
                        )
                    }
                    (None, _) => {
                        receiver.request(id).await?;
                        missing += 1;
                        format!("{path} ")
                    }
                });
            }
            Received::EntriesEnd => ended = true,
            Received::Data { id, data } => {
                lines[id as usize].push_str(&String::from_utf8_lossy(&data));
            }
            Received::FileEnd { .. } => missing -= 1,
        }
        if ended && missing == 0 {
            receiver.finish().await?;
            break;
        }
    }
    Ok(lines)
}

async fn export(
    fixture: &Fixture,
    client: Arc<Client>,
    attrs: &str,
    input: &ExportInput,
) -> Result<(), ExportError> {
    let mut context = fixture.context(LocalSession::builder());
    context.session = client;
    let exporter = parse("local", &attrs_of(attrs), 0)?;
    exporter.export(input, &context).await.map(drop)
}

#[tokio::test]
async fn a_tree_arrives_in_the_order_of_the_protocol() {
    let fixture = Fixture::new();
    let big = "x".repeat(600_000);
    let stack = fixture.stack(&[&["a/", "a/f=1", "a-b=2", "link->a/f", &format!("big={big}")]]);
    let (client, receiver) = Client::new();
    let input = ExportInput::single(stack);
    let sending = export(&fixture, Arc::clone(&client), "", &input);
    let (sent, received) = tokio::join!(sending, receive(receiver));
    sent.expect("is sent");
    let wanted = ["a/", "a/f 1", "a-b 2", &format!("big {big}"), "link -> a/f"];
    assert_eq!(received.expect("arrives"), wanted);
    assert_eq!(*client.mirrors.lock().expect("is free"), Some(false));
}

/// Row SVC-08: further names of a file go by the name of the first, and its data goes once.
#[tokio::test]
async fn hard_links_are_sent_as_such() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&[&["b/", "b/first=1", "a=>b/first", "c=>b/first", "alone=1"]]);
    let (client, receiver) = Client::new();
    let input = ExportInput::single(stack);
    let sending = export(&fixture, client, "", &input);
    let (sent, received) = tokio::join!(sending, receive(receiver));
    sent.expect("is sent");
    let wanted = ["a 1", "alone 1", "b/", "b/first = a", "c = a"];
    assert_eq!(received.expect("arrives"), wanted);
}

/// More files than are read in one go, and some of several pieces.
#[tokio::test]
async fn many_files_arrive_whole() {
    let fixture = Fixture::new();
    let data = |at: usize| {
        "x".repeat(match at % 50 {
            0 => (2 << 20) + at,
            _ => at % 7,
        })
    };
    let files: Vec<String> = (0..200).map(|at| format!("{at:03}={}", data(at))).collect();
    let listed: Vec<&str> = files.iter().map(String::as_str).collect();
    let (client, receiver) = Client::new();
    let input = ExportInput::single(fixture.stack(&[&listed]));
    let sending = export(&fixture, client, "", &input);
    let (sent, received) = tokio::join!(sending, receive(receiver));
    sent.expect("is sent");
    let wanted: Vec<String> = (0..200).map(|at| format!("{at:03} {}", data(at))).collect();
    assert!(received.expect("arrives") == wanted, "data was lost");
}

#[tokio::test]
async fn mirroring_clients_are_told_that_all_comes_in_one_transfer() {
    let fixture = Fixture::new();
    let (client, receiver) = Client::new();
    let input = fixture.result();
    let sending = export(
        &fixture,
        Arc::clone(&client),
        "mode=delete;platform-split=true",
        &input,
    );
    let (sent, received) = tokio::join!(sending, receive(receiver));
    sent.expect("is sent");
    let received = received.expect("arrives");
    assert_eq!(
        received[..3],
        [
            "linux_amd64/",
            "linux_amd64/bin/",
            "linux_amd64/bin/tool #!"
        ]
    );
    assert_eq!(*client.mirrors.lock().expect("is free"), Some(true));
}

#[tokio::test]
async fn a_client_that_goes_away_fails_the_export() {
    let fixture = Fixture::new();
    let (client, receiver) = Client::new();
    drop(receiver);
    let error = export(&fixture, client, "", &fixture.result()).await;
    assert!(matches!(error, Err(ExportError::Session(_))), "{error:?}");
}

#[tokio::test]
async fn an_empty_result_is_an_empty_directory() {
    let fixture = Fixture::new();
    let (client, receiver) = Client::new();
    let input = ExportInput::single(lamina_snapshotter::LayerStack::empty());
    let sending = export(&fixture, client, "", &input);
    let (sent, received) = tokio::join!(sending, receive(receiver));
    sent.expect("is sent");
    assert!(received.expect("arrives").is_empty());
}
