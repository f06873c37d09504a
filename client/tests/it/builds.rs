//! Solve, Status and Session side by side (rows CCL-02, CSOL-03, NET-07, NET-17).

use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::ClientError;
use lamina_client::llb::State;
use lamina_proto::control;
use lamina_proto::gateway;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;
use tonic::Status;

use crate::daemon::Daemon;
use crate::daemon::Manner;

fn request() -> BuildRequest {
    BuildRequest::new(Arc::new(LocalSession::builder().build()))
}

fn names(mut events: mpsc::UnboundedReceiver<control::StatusResponse>) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(event) = events.try_recv() {
        names.extend(event.vertexes.into_iter().map(|vertex| vertex.name));
    }
    names
}

#[tokio::test]
async fn a_build_has_a_response_events_and_a_session_that_ends() {
    let daemon = Daemon::start(async |request: control::SolveRequest, seen| {
        assert!(request.definition.is_some());
        seen.session(&request.session).await;
        Ok(())
    });
    let mut request = request();
    request.id = "b1".to_owned();
    request.definition = Some(State::scratch().mkdir("/a", 0o755).definition());
    let (sender, events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let response = client.solve(request, sender, &CancelToken::new()).await;
    assert_eq!(response.expect("succeeds")["key"], "value");
    assert_eq!(
        names(events),
        ["b1", "last"],
        "also what comes after the end"
    );
    daemon.seen.session_ended.cancelled().await;
}

#[tokio::test]
async fn cancelling_drops_the_call() {
    let daemon = Daemon::start(async |request: control::SolveRequest, seen| {
        seen.session(&request.session).await;
        std::future::pending().await
    });
    let client = daemon.client().await;
    let cancel = CancelToken::new();
    let (sender, mut events) = mpsc::unbounded_channel();
    let build = client.solve(request(), sender, &cancel);
    let stop = async {
        events.recv().await.expect("the build runs");
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(build, stop);
    assert!(matches!(outcome, Err(ClientError::Cancelled(_))));
    daemon.seen.solve_dropped.cancelled().await;
    daemon.seen.session_ended.cancelled().await;
}

#[tokio::test]
async fn dropping_the_future_ends_call_and_session() {
    let daemon = Daemon::start(async |_, _| std::future::pending().await);
    let client = daemon.client().await;
    let cancel = CancelToken::new();
    let (sender, mut events) = mpsc::unbounded_channel();
    tokio::select! {
        _ = client.solve(request(), sender, &cancel) => panic!("the build never ends"),
        event = events.recv() => assert!(event.is_some()),
    }
    daemon.seen.solve_dropped.cancelled().await;
}

#[tokio::test]
async fn progress_that_never_comes_is_not_waited_for() {
    let manner = Manner {
        never_answers_status: true,
        ..Manner::default()
    };
    let daemon = Daemon::with_manner(manner, async |_, _| Err(Status::unknown("refused")));
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let failed = client.solve(request(), sender, &CancelToken::new()).await;
    assert_eq!(failed.expect_err("refused").to_string(), "refused");
}

#[tokio::test]
async fn a_session_that_is_refused_ends_the_build() {
    let manner = Manner {
        refuses_sessions: true,
        ..Manner::default()
    };
    let daemon = Daemon::with_manner(manner, async |_, _| std::future::pending().await);
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let failed = client.solve(request(), sender, &CancelToken::new()).await;
    assert_eq!(failed.expect_err("refused").to_string(), "no sessions here");
}

#[tokio::test]
async fn a_driven_build_returns_its_result() {
    let daemon = Daemon::start(async |_, seen: Arc<crate::daemon::Seen>| {
        let returned = seen.result().await;
        assert!(returned.error.is_none());
        assert_eq!(returned.result.expect("a result").metadata["k"], b"v");
        Ok(())
    });
    let mut request = request();
    request.id = "driven".to_owned();
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let drive = async |gateway: lamina_client::Gateway| {
        gateway.ping().await?;
        let solved = gateway.solve(gateway::SolveRequest::default()).await?;
        let old = gateway::result::Result::RefDeprecated("old".to_owned());
        assert_eq!(solved.result, Some(old), "answers of old daemons are read");
        assert_eq!(gateway.read_file("r", "/p", None).await?, b"/p");
        let malformed = gateway.stat_file("r", "/p").await;
        assert!(matches!(malformed, Err(ClientError::Malformed(_))));
        Ok(gateway::Result {
            metadata: [("k".to_owned(), b"v".to_vec())].into(),
            ..gateway::Result::default()
        })
    };
    let response = client
        .build(request, drive, sender, &CancelToken::new())
        .await;
    assert_eq!(response.expect("succeeds")["key"], "value");
    let ids = daemon.seen.build_ids.lock().expect("not poisoned");
    assert_eq!(*ids, ["driven"; 5], "every call names the build");
}

#[tokio::test]
async fn an_error_of_the_driver_reaches_the_daemon_and_comes_back() {
    let daemon = Daemon::start(async |_, seen: Arc<crate::daemon::Seen>| {
        let error = seen.result().await.error.expect("an error");
        Err(Status::new(
            error.code.into(),
            format!("failed: {}", error.message),
        ))
    });
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let drive = async |gateway: lamina_client::Gateway| {
        gateway.evaluate("r").await?;
        Ok(gateway::Result::default())
    };
    let failed = client
        .build(request(), drive, sender, &CancelToken::new())
        .await;
    match failed {
        Err(ClientError::Daemon(failure)) => {
            assert_eq!(failure.code, 12, "the code of the call that failed");
            assert_eq!(failure.message, "failed: not in this daemon");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_build_that_the_daemon_ends_drops_the_driver() {
    let daemon = Daemon::start(async |_, _| Err(Status::unknown("no")));
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let drive = async |_| std::future::pending().await;
    let failed = client
        .build(request(), drive, sender, &CancelToken::new())
        .await;
    assert_eq!(failed.expect_err("ended").to_string(), "no");
}

#[tokio::test]
async fn names_that_cannot_travel_are_refused() {
    let daemon = Daemon::start(async |_, _| Ok(()));
    let mut request = request();
    request.id = "a\nb".to_owned();
    let (sender, _events) = mpsc::unbounded_channel();
    let client = daemon.client().await;
    let drive = async |_| Ok(gateway::Result::default());
    let failed = client
        .build(request, drive, sender, &CancelToken::new())
        .await;
    assert!(matches!(failed, Err(ClientError::NotAscii { .. })));
}
