//! Calls that race, repeat or name what is not there (rows CSOL-01, CSTA-01, NET-07, NET-08,
//! SES-06, ERR-15).

use std::time::Duration;
use std::time::Instant;

use lamina_client::llb::State;
use lamina_proto::control::StatusRequest;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;

use super::fake::Fake;
use super::raw::attach;
use super::raw::block_on;
use super::raw::connect;
use super::raw::solve;
use super::rig::daemon_of_root;

/// Long enough for a call to be there before the next.
const MOMENT: Duration = Duration::from_millis(500);

/// Asks LLBBridge for its name, as a part of these builds.
async fn ping(channel: &Channel, builds: &[&str]) -> Result<(), Status> {
    let mut call = Request::new(gateway::PingRequest {});
    for build in builds {
        let build = build.parse().expect("a header");
        call.metadata_mut()
            .append("buildkit-controlapi-buildid", build);
    }
    let answer = LlbBridgeClient::new(channel.clone()).ping(call).await;
    answer.map(drop)
}

/// Ends a build that its client drives, with nothing as its result.
async fn give_back(channel: &Channel, build: &str) -> Result<(), Status> {
    let mut call = Request::new(gateway::ReturnRequest {
        result: Some(gateway::Result::default()),
        error: None,
    });
    let build = build.parse().expect("a header");
    call.metadata_mut()
        .insert("buildkit-controlapi-buildid", build);
    let answer = LlbBridgeClient::new(channel.clone()).r#return(call).await;
    answer.map(drop)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, message: &str) {
    let status = outcome.expect_err("is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(message), "{status:?}");
}

#[test]
fn a_ref_belongs_to_one_build_at_a_time() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        // A build that its client drives, and that waits for it.
        let first = tokio::spawn({
            let channel = channel.clone();
            async move { solve(&channel, "one", "", None).await }
        });
        ping(&channel, &["one"]).await.expect("it runs");
        let nothing = State::scratch().mkfile("/f", 0o644, "f").definition();
        for (name, definition) in [("driven", None), ("of a definition", Some(nothing))] {
            let second = solve(&channel, "one", "", definition).await;
            refused(second, Code::Unknown, "job ID one exists");
            ping(&channel, &["one"])
                .await
                .unwrap_or_else(|_| panic!("{name} ended it"));
        }
        give_back(&channel, "one").await.expect("taken");
        first.await.expect("no panic").expect("built");
    });
    daemon.stop();
}

#[test]
fn builds_that_nobody_knows() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        let mut control = ControlClient::new(channel.clone());
        let begin = Instant::now();
        let (status, unknown, none, two) = tokio::join!(
            control.status(StatusRequest {
                r#ref: "nobody".to_owned()
            }),
            ping(&channel, &["nobody"]),
            ping(&channel, &[]),
            ping(&channel, &["a", "b"]),
        );
        // Row CSTA-01: it might have been about to begin.
        assert!(
            begin.elapsed() >= Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        refused(status, Code::NotFound, "no such job nobody");
        refused(unknown, Code::NotFound, "no such job nobody");
        refused(none, Code::Unknown, "no buildid found in context");
        refused(two, Code::Unknown, "no buildid found in context");
    });
    daemon.stop();
}

#[test]
fn calls_that_come_before_their_build() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        let early = tokio::spawn({
            let channel = channel.clone();
            async move { ping(&channel, &["late"]).await }
        });
        let mut control = ControlClient::new(channel.clone());
        let watching = tokio::spawn(async move {
            let request = StatusRequest {
                r#ref: "late".to_owned(),
            };
            let mut events = control.status(request).await?.into_inner();
            while events.message().await?.is_some() {}
            Ok::<_, Status>(())
        });
        tokio::time::sleep(MOMENT).await;
        let work = async { solve(&channel, "late", "", None).await };
        let drive = async {
            early.await.expect("no panic").expect("it came");
            give_back(&channel, "late").await.expect("taken");
        };
        let (built, ()) = tokio::join!(work, drive);
        built.expect("built");
        watching
            .await
            .expect("no panic")
            .expect("ends with the build");
    });
    daemon.stop();
}

#[test]
fn sessions_that_come_late_or_never() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        // Of one directory, every build would take the session that is there (row SES-07).
        let local = |name: &str| Some(State::local(name).definition());
        let late = tokio::spawn({
            let channel = channel.clone();
            async move {
                tokio::time::sleep(MOMENT).await;
                let session = attach(channel, "late", Fake::honest().routes()).await;
                session.await;
            }
        });
        let (came, never, nobody) = tokio::join!(
            solve(&channel, "a", "late", local("a")),
            solve(&channel, "b", "never", local("b")),
            solve(&channel, "c", "", local("c")),
        );
        came.expect("built");
        refused(never, Code::Unknown, "no active session for never");
        refused(nobody, Code::Unknown, "session");
        late.abort();
    });
    daemon.stop();
}
