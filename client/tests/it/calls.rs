//! Calls that are no builds, and addresses (rows CCL-01, CCL-03, CCL-07).

use std::time::Duration;

use futures_util::StreamExt as _;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::TlsFiles;
use lamina_proto::control;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::daemon::BLOB;
use crate::daemon::Daemon;

#[tokio::test]
async fn addresses_that_lead_nowhere_are_named() {
    for (name, address, wanted) in [
        ("empty", "", "\"\": expected unix://PATH or tcp://HOST:PORT"),
        (
            "a path",
            "/a/b",
            "\"/a/b\": expected unix://PATH or tcp://HOST:PORT",
        ),
        (
            "no socket",
            "unix://",
            "\"unix://\": the path of the socket is missing",
        ),
        (
            "nothing there",
            "unix:///no/such.sock",
            "cannot reach the daemon at unix:///no/such.sock: no such file or directory",
        ),
        (
            "no port",
            "tcp://host",
            "\"tcp://host\": the port is missing",
        ),
        (
            "no host",
            "tcp://a b",
            "\"tcp://a b\": expected tcp://HOST:PORT",
        ),
        (
            "nobody",
            "tcp://127.0.0.1:1",
            "cannot reach the daemon at tcp://127.0.0.1:1: connection refused",
        ),
    ] {
        let error = Client::connect(address, &TlsFiles::default()).await;
        let error = error.expect_err("leads nowhere").to_string();
        assert_eq!(error, wanted, "{name}");
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(&garbage, "no certificate").expect("written");
    let missing = dir.path().join("missing.pem");
    let tls = |ca, cert| TlsFiles {
        ca,
        cert,
        ..TlsFiles::default()
    };
    for (name, address, tls, wanted) in [
        (
            "for a unix socket",
            "unix:///x",
            tls(Some(garbage.clone()), None),
            "only",
        ),
        (
            "missing",
            "tcp://h:1",
            tls(Some(missing), None),
            "missing.pem: no such file",
        ),
        (
            "no key",
            "tcp://h:1",
            tls(None, Some(garbage)),
            "needs its key",
        ),
    ] {
        let error = Client::connect(address, &tls).await;
        let error = error.expect_err("cannot be used").to_string();
        assert!(error.contains(wanted), "{name}: {error}");
    }
}

/// Row CCL-03: who waits may give up, also while a daemon has the call and says nothing.
#[tokio::test]
async fn waiting_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("silent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("binds");
    let address = format!("unix://{}", socket.display());
    let client = Client::connect(&address, &TlsFiles::default()).await;
    let (client, cancel) = (client.expect("connects"), CancelToken::new());
    let wait = tokio::spawn({
        let cancel = cancel.clone();
        async move { client.wait(&cancel).await }
    });
    let (_silent, _) = listener.accept().await.expect("is connected");
    cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), wait).await;
    let ended = ended.expect("ends").expect("runs");
    assert!(matches!(ended, Err(ClientError::Cancelled(_))), "{ended:?}");
}

#[tokio::test]
async fn calls_are_answered() {
    let daemon = Daemon::start(async |_, _| Ok(()));
    let client = daemon.client().await;
    assert_eq!(client.info().await.expect("answers").version, "v1.2.3");
    client.wait(&CancelToken::new()).await.expect("is ready");
    let workers = client.workers(&[]).await.expect("answers");
    assert_eq!(workers[0].id, "w");
    let request = control::DiskUsageRequest {
        filter: vec!["x".to_owned()],
        age_limit: 0,
    };
    let used = client.disk_usage(request).await.expect("answers");
    assert_eq!(used[0].id, "du x");
    let removed = client.prune(control::PruneRequest::default()).await;
    let removed: Vec<_> = removed.expect("starts").collect().await;
    assert_eq!(removed.len(), 2);
    let history = client
        .history(control::BuildHistoryRequest::default())
        .await;
    assert_eq!(history.expect("starts").count().await, 1);
    let update = control::UpdateBuildHistoryRequest {
        r#ref: "b".to_owned(),
        delete: true,
        ..Default::default()
    };
    client
        .update_history(update.clone())
        .await
        .expect("answers");
    assert_eq!(*daemon.seen.updates.lock().expect("not poisoned"), [update]);
}

#[tokio::test]
async fn errors_of_the_daemon_come_back() {
    let daemon = Daemon::start(async |_, _| Ok(()));
    let client = daemon.client().await;
    match client.workers(&["bad".to_owned()]).await {
        Err(ClientError::Daemon(failure)) => {
            assert_eq!((failure.code, &failure.message[..]), (3, "bad filter"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn blobs_are_checked() {
    let daemon = Daemon::start(async |_, _| Ok(()));
    let client = daemon.client().await;
    let blob = client.blob(&Digest::of(BLOB)).await.expect("is right");
    assert_eq!(blob, BLOB);
    let wrong = client.blob(&Digest::of(b"another")).await;
    assert!(matches!(wrong, Err(ClientError::WrongBlob { .. })));
}
