//! Clients that fetch tokens themselves (rows SVC-11, SVC-12).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use lamina_session::BlobStore;
use lamina_session::Credentials;
use lamina_session::DirectoryTarget;
use lamina_session::Duplex;
use lamina_session::FileTarget;
use lamina_session::LocalFiles;
use lamina_session::LocalRequest;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_session::Token;
use lamina_session::TokenRequest;
use tokio::io::AsyncRead;

use crate::server::Reply;
use crate::server::Server;
use crate::support::OCI_MANIFEST;
use crate::support::Setup;
use crate::support::manifest;

/// What the client answers when it is asked for a token.
type Answer = Result<Option<&'static str>, &'static str>;

/// A client that does nothing but sign in.
struct Client {
    id: &'static str,
    answer: Answer,
    asked: Mutex<Vec<TokenRequest>>,
}

impl Client {
    fn new(id: &'static str, answer: Answer) -> Arc<Self> {
        Arc::new(Self {
            id,
            answer,
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<TokenRequest> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &str {
        self.id
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
        Ok(None)
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, SessionError> {
        let mut asked = self.asked.lock().expect("unpoisoned");
        asked.push(request.clone());
        let token = |token: &str| Token {
            token: token.to_owned(),
            expires_in: 300,
            issued_at: 0,
        };
        let answer = self.answer.map(|found| found.map(token));
        answer.map_err(|message| SessionError::Remote {
            message: message.to_owned(),
            gone: false,
        })
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

    async fn directory_target(&self, _: usize, _: bool) -> Result<DirectoryTarget, SessionError> {
        Err(SessionError::NoSession)
    }
}

/// A registry that takes the token `good`; its token server is at `realm`, or on itself.
fn guarded(realm: Option<&'static str>) -> Server {
    let host: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&host);
    let server = Server::start(move |call| {
        if call.target.starts_with("/token") {
            return Reply::new(200, r#"{"token":"good"}"#);
        }
        if call.header("authorization") == "Bearer good" {
            return Reply::new(200, manifest()).header("content-type", OCI_MANIFEST);
        }
        let own = format!("http://{}/token", own.lock().expect("unpoisoned"));
        let realm = realm.unwrap_or(&own);
        let challenge = format!(r#"Bearer realm="{realm}",service="svc",scope="extra:x:pull""#);
        Reply::new(401, "{}").header("www-authenticate", challenge)
    });
    *host.lock().expect("unpoisoned") = server.host();
    server
}

fn setup(client: &Arc<Client>) -> Setup {
    let mut setup = Setup::new();
    setup.session = Arc::clone(client) as Arc<dyn Session>;
    setup
}

#[test]
fn the_client_is_asked_first_and_once() {
    let server = guarded(Some("https://auth.test/token"));
    let client = Client::new("one", Ok(Some("good")));
    let setup = setup(&client);
    let reference = format!("{}/a/b:c", server.host());
    for _ in 0..2 {
        setup.resolve(&reference).expect("resolved");
    }
    let wanted = TokenRequest {
        client_id: "buildkit-client".to_owned(),
        host: server.host(),
        realm: "https://auth.test/token".to_owned(),
        service: "svc".to_owned(),
        scopes: vec!["extra:x:pull".to_owned(), "repository:a/b:pull".to_owned()],
    };
    assert_eq!(client.asked(), [wanted]);
}

#[test]
fn a_token_of_one_session_is_no_others() {
    let server = guarded(None);
    let (first, second) = (
        Client::new("one", Ok(Some("good"))),
        Client::new("two", Ok(Some("bad"))),
    );
    let mut setup = setup(&first);
    let reference = format!("{}/a/b:c", server.host());
    setup.resolve(&reference).expect("resolved");
    setup.session = Arc::clone(&second) as Arc<dyn Session>;
    setup.resolve(&reference).expect_err("not its token");
    assert_eq!(second.asked().len(), 1);
}

#[test]
fn a_client_that_does_not_want_to_leaves_it_to_us() {
    let server = guarded(None);
    let client = Client::new("one", Ok(None));
    let reference = format!("{}/a/b:c", server.host());
    setup(&client).resolve(&reference).expect("anonymous");
    let targets = server.targets();
    assert!(targets.iter().any(|t| t.contains("/token?")), "{targets:?}");
}

#[test]
fn what_the_clients_sign_in_says_is_passed_on() {
    let server = guarded(None);
    let client = Client::new("one", Err("password expired"));
    let reference = format!("{}/a/b:c", server.host());
    let error = setup(&client).resolve(&reference).expect_err("refused");
    assert_eq!(error.to_string(), "password expired");
}
