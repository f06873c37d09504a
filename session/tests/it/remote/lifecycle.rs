//! How sessions come and go (rows SES-01, SES-05, SES-06, SES-08, CSOL-08).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_session::LocalRequest;
use lamina_session::LocalSession;
use lamina_session::SESSION_WAIT;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::SessionInfo;
use lamina_session::SessionManager;
use lamina_session::StoreId;
use lamina_session::TokenRequest;
use tokio::io::AsyncReadExt;

use crate::fake;
use crate::fake::Fake;
use crate::wait;

const SOON: Duration = Duration::from_millis(1);

#[test]
fn a_session_is_known_while_its_client_is_there() {
    let fake = Fake::start(|_| {});
    assert_eq!(fake.session.id(), "fake");
    assert_eq!(
        fake.wait(fake.session.shared_key()).expect("known"),
        "shared"
    );
    let found = fake.wait(fake.manager.wait("prefix:fake", SOON));
    assert_eq!(found.expect("known").id(), "fake");

    fake.kill();
    let manager = fake.manager.clone();
    let session = Arc::clone(&fake.session);
    fake.end().expect("it went by itself");
    let error = wait(manager.wait("fake", SOON)).err().expect("forgotten");
    assert_eq!(
        error.to_string(),
        "no active session for fake: context deadline exceeded"
    );
    match wait(session.secret("x")) {
        Err(SessionError::Remote {
            message,
            gone: true,
        }) => {
            assert_eq!(message, "session fake is gone");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_client_cannot_take_an_id() {
    let fake = Fake::start(|_| {});
    let error = fake.wait(async {
        let tunnel = fake::serve(|_| {});
        fake.manager
            .attach(fake::info("fake"), Box::new(tunnel))
            .await
    });
    assert!(matches!(error, Err(SessionError::Duplicate { id }) if id == "fake"));
    fake.wait(fake.session.shared_key())
        .expect("the first goes on");
}

#[test]
fn dropping_the_attachment_ends_the_session_and_the_tunnel() {
    wait(async {
        let manager = SessionManager::default();
        let (tunnel, mut theirs) = tokio::io::duplex(64 << 10);
        let attached = manager.attach(fake::info("one"), Box::new(tunnel));
        let session = tokio::select! {
            _ = attached => panic!("still there"),
            session = manager.wait("one", fake::PATIENCE) => session.expect("known"),
        };
        assert!(manager.wait("one", SOON).await.is_err());
        let error = session.secret("x").await.expect_err("gone");
        assert!(
            matches!(error, SessionError::Remote { gone: true, .. }),
            "{error:?}"
        );
        // The session is still held, and the tunnel is closed nevertheless.
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.expect("closed");
    });
}

#[test]
fn a_client_that_never_answers_is_given_up() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        for (wish, patience) in [(None, 47), (Some(Duration::from_secs(1)), 2)] {
            let manager = SessionManager::default();
            let (tunnel, _theirs) = tokio::io::duplex(64 << 10);
            let info = SessionInfo {
                health_timeout: wish,
                ..fake::info("silent")
            };
            let start = tokio::time::Instant::now();
            let error = manager
                .attach(info, Box::new(tunnel))
                .await
                .expect_err("given up");
            assert_eq!(
                error.to_string(),
                "session healthcheck failed fatally: context deadline exceeded"
            );
            assert_eq!(start.elapsed().as_secs(), patience);
        }
    });
}

#[test]
fn clients_without_health_checks_stay() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let manager = SessionManager::default();
        let tunnel = fake::serve(|_| {});
        tokio::select! {
            end = manager.attach(fake::info("old"), Box::new(tunnel)) => panic!("{end:?}"),
            () = tokio::time::sleep(Duration::from_secs(100)) => {}
        }
    });
}

#[test]
fn a_build_may_come_before_its_client() {
    wait(async {
        let manager = SessionManager::default();
        let client = Arc::new(LocalSession::builder().secret_bytes("token", "x").build());
        let session = manager.lazy(&format!("context:{}", client.id()));
        let asking = session.secret("token");
        let coming = async {
            tokio::task::yield_now().await;
            manager.register(client)
        };
        let (answer, guard) = tokio::join!(asking, coming);
        assert_eq!(answer.expect("came"), Some(b"x".to_vec()));
        drop(guard);
        // It stays with the client that it found.
        assert!(session.secret("token").await.is_ok());
    });
}

#[test]
fn a_client_that_never_comes_is_waited_for_once_by_all() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let session = SessionManager::default().lazy("absent");
        let start = tokio::time::Instant::now();
        let asked = (0..10).map(|_| session.secret("x"));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(
                answer.expect_err("absent").to_string(),
                "no active session for absent: context deadline exceeded"
            );
        }
        assert_eq!(start.elapsed().as_secs(), SESSION_WAIT.as_secs());
    });
}

#[test]
fn guards_forget_only_their_own_session() {
    let manager = SessionManager::default();
    let session = Arc::new(LocalSession::builder().build());
    let first = manager.register(Arc::clone(&session) as Arc<dyn Session>);
    let other: Arc<dyn Session> = session.clone();
    let second = manager.register(Arc::clone(&other));
    drop(first);
    drop(second);
    assert!(wait(manager.wait(session.id(), SOON)).is_err());
    assert_eq!(format!("{manager:?}"), "[]");
}

#[test]
fn a_build_without_session_is_told_so() {
    let session = SessionManager::default().lazy("");
    let start = Instant::now();
    let none = BTreeMap::new();
    wait(async {
        let files = "could not access local files without session";
        let found = session.local_files(&LocalRequest::default()).await;
        assert_eq!(found.expect_err("none").to_string(), files);
        assert_eq!(
            session.shared_key().await.expect_err("none").to_string(),
            files
        );
        let ssh = session.connect_ssh("x").await.err();
        let upload = session.upload("h", "/").await.err();
        for error in [
            session.secret("x").await.expect_err("none"),
            session.check_ssh("x").await.expect_err("none"),
            ssh.expect("none"),
            upload.expect("none"),
        ] {
            assert_eq!(error.to_string(), "no active sessions");
        }
        for error in [
            session.file_target(0, &none).await.err(),
            session.directory_target(0, false).await.err(),
            session.blobs(&StoreId::Export).await.err(),
        ] {
            assert_eq!(
                error.expect("none").to_string(),
                "no active session for : context deadline exceeded"
            );
        }
        assert!(session.credentials("x").await.expect("anonymous").is_none());
        let token = session.fetch_token(&TokenRequest::default()).await;
        assert!(token.expect("none").is_none());
    });
    assert!(start.elapsed() < SESSION_WAIT, "nothing is waited for");
}
