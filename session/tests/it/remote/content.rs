//! Stores of blobs at the client (row SVC-19).

use std::collections::BTreeMap;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::Stream;
use futures_util::StreamExt;
use lamina_proto::content;
use lamina_proto::content::WriteAction;
use lamina_proto::content::WriteContentRequest;
use lamina_proto::content::WriteContentResponse;
use lamina_proto::content::content_server::Content;
use lamina_proto::content::content_server::ContentServer;
use lamina_session::BlobStore;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_types::Digest;
use tokio::io::AsyncReadExt;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use crate::fake::Fake;

/// A store in memory.
#[derive(Clone, Default)]
struct Store {
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    aborted: Arc<Mutex<Vec<String>>>,
}

impl Store {
    fn with(blobs: &[&[u8]]) -> Self {
        let store = Self::default();
        for blob in blobs {
            store.put(blob.to_vec());
        }
        store
    }

    fn put(&self, blob: Vec<u8>) {
        let digest = Digest::of(&blob).to_string();
        self.blobs.lock().expect("no panic").insert(digest, blob);
    }

    fn find(&self, metadata: &MetadataMap, digest: &str) -> Result<Vec<u8>, Status> {
        match metadata.get("buildkit-attachable-store-id") {
            Some(id) if id == "oci:base" || id == "export" => {}
            id => return Err(Status::not_found(format!("unknown store {id:?}"))),
        }
        let blobs = self.blobs.lock().expect("no panic");
        let blob = blobs.get(digest).cloned();
        blob.ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Content for Store {
    type ListStream = Answers<content::ListContentResponse>;
    type ReadStream = Answers<content::ReadContentResponse>;
    type WriteStream = Answers<WriteContentResponse>;

    async fn info(
        &self,
        request: Request<content::InfoRequest>,
    ) -> Result<Response<content::InfoResponse>, Status> {
        let blob = self.find(request.metadata(), &request.get_ref().digest)?;
        let size = i64::try_from(blob.len()).expect("fits");
        let info = content::Info {
            size,
            ..content::Info::default()
        };
        Ok(Response::new(content::InfoResponse { info: Some(info) }))
    }

    /// Pieces of ten bytes; a blob that begins with `!` has a hole.
    async fn read(
        &self,
        request: Request<content::ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let blob = self.find(request.metadata(), &request.get_ref().digest)?;
        let start = usize::try_from(request.get_ref().offset).expect("fits");
        let step = if blob.starts_with(b"!") { 11 } else { 10 };
        let places = (start..blob.len()).step_by(step);
        let pieces: Vec<_> = places
            .map(|at| {
                Ok(content::ReadContentResponse {
                    offset: i64::try_from(at).expect("fits"),
                    data: blob[at..blob.len().min(at + 10)].to_vec().into(),
                })
            })
            .collect();
        Ok(Response::new(futures_util::stream::iter(pieces).boxed()))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let store = self.clone();
        let mut messages = request.into_inner();
        let (answers, queue) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut data = Vec::new();
            while let Some(Ok(message)) = messages.next().await {
                let answer = store.step(&mut data, &message);
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        let answers = tokio_stream::wrappers::ReceiverStream::new(queue);
        Ok(Response::new(answers.boxed()))
    }

    async fn abort(&self, request: Request<content::AbortRequest>) -> Result<Response<()>, Status> {
        let reference = request.into_inner().r#ref;
        self.aborted.lock().expect("no panic").push(reference);
        Ok(Response::new(()))
    }

    async fn update(
        &self,
        _: Request<content::UpdateRequest>,
    ) -> Result<Response<content::UpdateResponse>, Status> {
        Err(Status::unimplemented("update"))
    }

    async fn list(
        &self,
        _: Request<content::ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn delete(
        &self,
        _: Request<content::DeleteContentRequest>,
    ) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("delete"))
    }

    async fn status(
        &self,
        _: Request<content::StatusRequest>,
    ) -> Result<Response<content::StatusResponse>, Status> {
        Err(Status::unimplemented("status"))
    }

    async fn list_statuses(
        &self,
        _: Request<content::ListStatusesRequest>,
    ) -> Result<Response<content::ListStatusesResponse>, Status> {
        Err(Status::unimplemented("list statuses"))
    }
}

impl Store {
    fn step(
        &self,
        data: &mut Vec<u8>,
        message: &WriteContentRequest,
    ) -> Result<WriteContentResponse, Status> {
        let action = WriteAction::try_from(message.action).expect("known");
        assert!(!message.r#ref.is_empty(), "every message names the blob");
        match action {
            WriteAction::Stat => {
                if self
                    .blobs
                    .lock()
                    .expect("no panic")
                    .contains_key(&message.expected)
                {
                    return Err(Status::already_exists("content: already exists"));
                }
            }
            WriteAction::Write => {
                assert_eq!(usize::try_from(message.offset), Ok(data.len()));
                assert!(message.data.len() <= 1 << 20);
                data.extend_from_slice(&message.data);
            }
            WriteAction::Commit => {
                if Digest::of(data).to_string() != message.expected {
                    return Err(Status::failed_precondition("unexpected commit digest"));
                }
                self.put(std::mem::take(data));
            }
        }
        Ok(WriteContentResponse {
            action: message.action,
            offset: i64::try_from(data.len()).expect("fits"),
            ..WriteContentResponse::default()
        })
    }
}

fn client(store: &Store) -> Fake {
    let store = store.clone();
    Fake::start(|services| {
        services.add_service(ContentServer::new(store));
    })
}

fn blobs(fake: &Fake, store: &StoreId) -> Arc<dyn BlobStore> {
    fake.wait(fake.session.blobs(store)).expect("opens")
}

fn base() -> StoreId {
    StoreId::Layout("base".to_owned())
}

#[test]
fn blobs_are_read_from_any_byte_on() {
    let data: Vec<u8> = (0..=255).collect();
    let fake = client(&Store::with(&[&data]));
    let store = blobs(&fake, &base());
    let digest = Digest::of(&data);
    assert_eq!(fake.wait(store.size(&digest)).expect("asked"), Some(256));
    assert_eq!(
        fake.wait(store.size(&Digest::of(b"x"))).expect("asked"),
        None
    );
    for offset in [0, 1, 255, 256] {
        let found = fake.wait(async {
            let mut found = Vec::new();
            let mut reader = store.read(&digest, offset).await.expect("there");
            reader.read_to_end(&mut found).await.expect("read");
            found
        });
        assert_eq!(found, data[usize::try_from(offset).expect("fits")..]);
    }
    let missing = fake.wait(store.read(&Digest::of(b"x"), 0)).err();
    assert!(missing.expect("missing").to_string().contains("not found"));
}

#[test]
fn a_blob_with_a_hole_is_refused() {
    let data = [&b"!"[..], &[0; 30]].concat();
    let fake = client(&Store::with(&[&data]));
    let store = blobs(&fake, &base());
    let error = fake.wait(async {
        let mut reader = store.read(&Digest::of(&data), 0).await.expect("there");
        reader
            .read_to_end(&mut Vec::new())
            .await
            .expect_err("a hole")
    });
    assert_eq!(
        error.to_string(),
        "the client sent byte 11 of a blob after byte 10"
    );
}

#[test]
fn stores_that_the_client_does_not_have_are_named() {
    let fake = client(&Store::default());
    let store = blobs(&fake, &StoreId::Cache("dir".to_owned()));
    let digest = Digest::of(b"x");
    let read = fake.wait(store.read(&digest, 0)).err().expect("unknown");
    for error in [fake.wait(store.size(&digest)).expect_err("unknown"), read] {
        assert_eq!(error.to_string(), "unknown store local:dir");
    }
}

#[test]
fn blobs_are_written_once_and_whole() {
    let store = Store::default();
    let fake = client(&store);
    let remote = blobs(&fake, &StoreId::Export);
    for data in [Vec::new(), b"small".to_vec(), vec![9; (2 << 20) + 5]] {
        let digest = Digest::of(&data);
        let size = data.len() as u64;
        for _ in 0..2 {
            let reader = Box::new(Cursor::new(data.clone()));
            fake.wait(remote.write(&digest, size, reader))
                .expect("written");
        }
        let blobs = store.blobs.lock().expect("no panic");
        assert!(blobs.get(&digest.to_string()) == Some(&data));
    }
    assert!(store.aborted.lock().expect("no panic").is_empty());
}

#[test]
fn what_is_not_the_blob_is_refused_and_cleaned_up() {
    let store = Store::default();
    let fake = client(&store);
    let remote = blobs(&fake, &StoreId::Export);
    let digest = Digest::of(b"right");
    let reader = Box::new(Cursor::new(b"wrong".to_vec()));
    let error = fake
        .wait(remote.write(&digest, 5, reader))
        .expect_err("refused");
    assert_eq!(error.to_string(), "unexpected commit digest");

    let broken = tokio_util::io::StreamReader::new(futures_util::stream::iter([
        Ok(bytes::Bytes::from("ri")),
        Err(std::io::Error::other("the disk broke")),
    ]));
    let error = fake
        .wait(remote.write(&digest, 5, Box::new(broken)))
        .expect_err("broken");
    assert!(error.to_string().contains("the disk broke"), "{error}");

    assert_eq!(store.aborted.lock().expect("no panic").len(), 2);
    assert!(store.blobs.lock().expect("no panic").is_empty());
}

#[test]
fn a_client_that_dies_fails_a_read() {
    let data = vec![1; 10 << 20];
    let fake = client(&Store::with(&[&data]));
    let store = blobs(&fake, &base());
    let mut reader = fake.wait(store.read(&Digest::of(&data), 0)).expect("there");
    fake.wait(reader.read_u8()).expect("the first byte");
    fake.kill();
    let mut rest = Vec::new();
    let error = fake.wait(reader.read_to_end(&mut rest)).expect_err("gone");
    let inner = error
        .into_inner()
        .and_then(|error| error.downcast::<SessionError>().ok());
    assert!(matches!(
        inner.as_deref(),
        Some(SessionError::Remote { gone: true, .. })
    ));
}
