//! Credentials, secrets, agents and uploads of the client (rows SVC-10 to SVC-17, ERR-19).

use futures_util::Stream;
use futures_util::StreamExt;
use lamina_proto::filesync::CredentialsRequest;
use lamina_proto::filesync::CredentialsResponse;
use lamina_proto::filesync::FetchTokenRequest;
use lamina_proto::filesync::FetchTokenResponse;
use lamina_proto::filesync::GetTokenAuthorityRequest;
use lamina_proto::filesync::GetTokenAuthorityResponse;
use lamina_proto::filesync::VerifyTokenAuthorityRequest;
use lamina_proto::filesync::VerifyTokenAuthorityResponse;
use lamina_proto::filesync::auth_server::Auth;
use lamina_proto::filesync::auth_server::AuthServer;
use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::GetSecretResponse;
use lamina_proto::secrets::secrets_server::Secrets;
use lamina_proto::secrets::secrets_server::SecretsServer;
use lamina_proto::sshforward;
use lamina_proto::sshforward::CheckAgentRequest;
use lamina_proto::sshforward::CheckAgentResponse;
use lamina_proto::sshforward::ssh_server::Ssh;
use lamina_proto::sshforward::ssh_server::SshServer;
use lamina_proto::upload::BytesMessage;
use lamina_session::TokenRequest;
use std::pin::Pin;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::fake::Answers;
use crate::fake::Fake;
use crate::fake::Streams;
use crate::fake::Upload;

/// Answers by the name of what is asked for.
struct Client;

#[tonic::async_trait]
impl Secrets for Client {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match request.get_ref().id.as_str() {
            "token" => Ok(Response::new(GetSecretResponse {
                data: b"hunter2".to_vec(),
            })),
            "locked" => Err(Status::permission_denied("the keyring is locked")),
            id => Err(Status::not_found(format!("secret {id} not found"))),
        }
    }
}

#[tonic::async_trait]
impl Auth for Client {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (username, secret) = match request.get_ref().host.as_str() {
            "registry.test" => ("user", "password"),
            "identity.test" => ("", "identity"),
            "broken.test" => return Err(Status::unknown("the helper failed")),
            _ => ("", ""),
        };
        Ok(Response::new(CredentialsResponse {
            username: username.to_owned(),
            secret: secret.to_owned(),
        }))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let request = request.into_inner();
        if request.scopes.is_empty() {
            return Err(Status::unknown("no scopes"));
        }
        Ok(Response::new(FetchTokenResponse {
            token: format!("{} {:?}", request.realm, request.scopes),
            expires_in: 60,
            issued_at: 1,
        }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.salt.len(), 32);
        let length = match request.host.as_str() {
            "registry.test" => 32,
            "short.test" => 31,
            _ => return Err(Status::unavailable("client side tokens disabled")),
        };
        Ok(Response::new(GetTokenAuthorityResponse {
            public_key: vec![1; length],
        }))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

#[tonic::async_trait]
impl Ssh for Client {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        match request.get_ref().id.as_str() {
            "default" => Ok(Response::new(CheckAgentResponse {})),
            id => Err(Status::unknown(format!("unset ssh forward key {id}"))),
        }
    }

    type ForwardAgentStream =
        Pin<Box<dyn Stream<Item = Result<sshforward::BytesMessage, Status>> + Send>>;

    /// Speaks when spoken to, and in capitals.
    async fn forward_agent(
        &self,
        request: Request<Streaming<sshforward::BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get("buildkit.ssh.id").cloned();
        if id.is_none_or(|id| id != "default") {
            return Err(Status::unknown("unset ssh forward key"));
        }
        let mut messages = request.into_inner();
        let capitals = |mut message: sshforward::BytesMessage| {
            message.data = message.data.to_ascii_uppercase().into();
            message
        };
        let Some(first) = messages.next().await else {
            return Ok(Response::new(futures_util::stream::empty().boxed()));
        };
        let rest = futures_util::stream::iter([first]).chain(messages);
        Ok(Response::new(rest.map(move |m| m.map(capitals)).boxed()))
    }
}

fn client() -> Fake {
    Fake::start(|services| {
        services.add_service(SecretsServer::new(Client));
        services.add_service(AuthServer::new(Client));
        services.add_service(SshServer::new(Client));
        services.add_service(Streams::new(Upload, upload));
    })
}

async fn upload(
    metadata: tonic::metadata::MetadataMap,
    _: Streaming<BytesMessage>,
    answers: Answers<BytesMessage>,
) {
    let value = |key| metadata.get(key).and_then(|value| value.to_str().ok());
    if value("urlhost") != Some("buildkit-session") || value("urlpath") != Some("/there") {
        drop(answers.send(Err(Status::not_found("no such upload"))).await);
        return;
    }
    for data in ["da", "", "ta"] {
        let data = data.into();
        drop(answers.send(Ok(BytesMessage { data })).await);
    }
}

#[test]
fn secrets_are_there_or_not() {
    let fake = client();
    let secret = |id| {
        fake.wait(fake.session.secret(id))
            .map_err(|error| error.to_string())
    };
    assert_eq!(secret("token"), Ok(Some(b"hunter2".to_vec())));
    assert_eq!(secret("other"), Ok(None));
    assert_eq!(secret("locked"), Err("the keyring is locked".to_owned()));
}

#[test]
fn credentials_may_be_a_password_a_token_or_nothing() {
    let fake = client();
    for (host, wanted) in [
        ("registry.test", Ok(Some(("user", "password")))),
        ("identity.test", Ok(Some(("", "identity")))),
        ("anonymous.test", Ok(None)),
        ("broken.test", Err("the helper failed")),
    ] {
        let found = fake.wait(fake.session.credentials(host));
        let found = found.map_err(|error| error.to_string());
        let found = found.map(|found| found.map(|it| (it.username, it.secret)));
        let wanted = wanted.map_err(str::to_owned);
        let owned = |(name, secret): (&str, &str)| (name.to_owned(), secret.to_owned());
        assert_eq!(found, wanted.map(|wanted| wanted.map(owned)), "{host}");
    }
}

#[test]
fn tokens_are_fetched_where_the_client_wants_to() {
    let fake = client();
    let fetch = |host: &str, scopes: &[&str]| {
        let request = TokenRequest {
            host: host.to_owned(),
            realm: "https://auth.test/token".to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..TokenRequest::default()
        };
        let token = fake.wait(fake.session.fetch_token(&request));
        token
            .map(|token| token.map(|token| (token.token, token.expires_in, token.issued_at)))
            .map_err(|error| error.to_string())
    };
    let text = "https://auth.test/token [\"repository:a:pull\"]".to_owned();
    assert_eq!(
        fetch("registry.test", &["repository:a:pull"]),
        Ok(Some((text, 60, 1)))
    );
    assert_eq!(fetch("other.test", &["a"]), Ok(None));
    assert_eq!(fetch("registry.test", &[]), Err("no scopes".to_owned()));
    let error = fetch("short.test", &["a"]).expect_err("no key");
    assert!(error.contains("invalid pubkey length 31"), "{error}");
}

#[test]
fn agents_are_checked_and_spoken_to() {
    let fake = client();
    fake.wait(fake.session.check_ssh("")).expect("the default");
    let error = fake
        .wait(fake.session.check_ssh("other"))
        .expect_err("unknown");
    assert_eq!(error.to_string(), "unset ssh forward key other");

    let answer = fake.wait(async {
        let mut agent = fake.session.connect_ssh("").await.expect("connects");
        agent.write_all(b"question").await.expect("written");
        agent.shutdown().await.expect("shut down");
        let mut answer = String::new();
        agent.read_to_string(&mut answer).await.expect("read");
        answer
    });
    assert_eq!(answer, "QUESTION");
    let error = fake.wait(async {
        let mut agent = fake.session.connect_ssh("other").await.expect("begins");
        agent.read(&mut [0]).await.expect_err("refused")
    });
    assert_eq!(error.to_string(), "unset ssh forward key");
}

/// What is left out of a call means the default, and nobody asked for that (rows SVC-16, SVC-17).
#[test]
fn ids_that_no_header_can_have_are_unknown() {
    let fake = client();
    let agent = fake.wait(fake.session.connect_ssh("two\nlines")).err();
    assert_eq!(
        agent.expect("refused").to_string(),
        "no SSH key \"two\\nlines\" forwarded from the client"
    );
    let upload = fake.wait(fake.session.upload("buildkit-session", "/\u{e9}"));
    assert_eq!(
        upload.err().expect("refused").to_string(),
        "the client uploads nothing at http://buildkit-session/\u{e9}"
    );
}

#[test]
fn uploads_are_read_by_url() {
    let fake = client();
    let text = fake.wait(async {
        let mut reader = fake
            .session
            .upload("buildkit-session", "/there")
            .await
            .expect("there");
        let mut text = String::new();
        reader.read_to_string(&mut text).await.expect("read");
        text
    });
    assert_eq!(text, "data");
    let error = fake
        .wait(fake.session.upload("buildkit-session", "/x"))
        .err();
    assert_eq!(
        error.expect("refused").to_string(),
        "the client uploads nothing at http://buildkit-session/x"
    );
}

#[test]
fn services_that_a_client_does_not_offer_are_answers() {
    let fake = Fake::start(|_| {});
    let session = &fake.session;
    fake.wait(async {
        assert_eq!(session.secret("x").await.expect("an answer"), None);
        assert_eq!(session.credentials("x").await.expect("an answer"), None);
        let token = session.fetch_token(&TokenRequest::default()).await;
        assert!(token.expect("an answer").is_none());
        let error = session.check_ssh("").await.expect_err("none");
        assert_eq!(
            error.to_string(),
            "no SSH key \"default\" forwarded from the client"
        );
        let error = session.upload("h", "/x").await.err().expect("none");
        assert_eq!(
            error.to_string(),
            "the client uploads nothing at http://h/x"
        );
    });
}
