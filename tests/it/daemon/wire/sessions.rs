//! One build with the files of several clients (row SES-09).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_session::Session as _;

use super::Wire;
use super::hold;
use super::offering;
use super::reference_of;
use super::with_daemon;

/// The build's own session knows neither `context` nor `dockerfile`; another one does.
#[test]
fn options_and_attributes_name_other_sessions() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name, text| std::fs::write(folder.path().join(name), text).expect("written");
    write("Dockerfile", "FROM scratch\nCOPY f /copied\n");
    write("f", "of another client");
    with_daemon(async |wire: &Wire| {
        let session = lamina_session::LocalSession::builder()
            .local_dir("context", folder.path())
            .local_dir("dockerfile", folder.path());
        let session = Arc::new(session.build());
        let id = session.id().to_owned();
        let (_, held) = hold(&wire.client, BuildRequest::new(session)).await;

        let options =
            ["context", "dockerfile"].map(|name| (format!("local-sessionid:{name}"), id.clone()));
        let request = |options: BTreeMap<String, String>| gateway::SolveRequest {
            frontend: "dockerfile.v0".to_owned(),
            frontend_opt: options,
            evaluate: true,
            ..gateway::SolveRequest::default()
        };
        let own = wire.gateway.solve(request(BTreeMap::new())).await;
        own.expect_err("the own session has no such folder");
        let built = wire
            .gateway
            .solve(request(options.into()))
            .await
            .expect("built");
        let read = wire
            .gateway
            .read_file(&reference_of(&built), "/copied", None)
            .await;
        assert_eq!(read.expect("copied"), b"of another client");

        let source = State::source("local://context", &[("local.session", &id)], None);
        let tree = wire.reference(&source).await;
        let read = wire.gateway.read_file(&tree, "/f", None).await;
        assert_eq!(read.expect("sent"), b"of another client");
        held.release().await.expect("released");
    });
}

/// Row SES-07: where a session has gone, the build's own is asked; only what nobody has fails.
#[test]
fn a_session_that_has_gone_is_stood_in_for() {
    let folder = tempfile::tempdir().expect("a folder");
    with_daemon(async |wire: &Wire| {
        let session = Arc::new(offering("context", folder.path()));
        let id = session.id().to_owned();
        let (_, held) = hold(&wire.client, BuildRequest::new(session)).await;
        held.release().await.expect("released");
        let of_gone = |name| State::source(name, &[("local.session", &id)], None);
        let nobody = wire.reference(&of_gone("local://context")).await;
        let error = wire
            .gateway
            .evaluate(&nobody)
            .await
            .expect_err("nobody has it");
        let expected = "failed to load cache key: no access allowed to dir \"context\"";
        assert_eq!(error.to_string(), expected);
        let own = wire.reference(&of_gone("local://base")).await;
        let stat = wire.gateway.stat_file(&own, "/etc/passwd").await;
        stat.expect("the own session has it");
    });
}
