//! The recorded Dockerfiles through daemons: over the socket, for root and for an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::TlsFiles;
use lamina_types::CancelToken;

use super::rig::Daemon;
use crate::dockerfiles::Bench;
use crate::dockerfiles::Builder;
use crate::dockerfiles::Cases;
use crate::dockerfiles::DIFFERENT;
use crate::dockerfiles::Failed;
use crate::dockerfiles::Inputs;
use crate::harness;
use crate::harness::User;
use crate::harness::report;
use crate::scratch::scratch;

/// Cases whose errors our client words otherwise than the client in Go that the data was recorded
/// with.
const OTHER_WORDS: [&str; 2] = ["options/requestid-unknown", "options/caps-unknown"];

/// What users cannot have: the kernel lets them make no devices.
const NOT_FOR_USERS: [&str; 1] = ["combo/special-files-copied"];

impl Builder for Client {
    async fn build(&self, inputs: Inputs) -> Result<(), Failed> {
        let mut request = BuildRequest::new(std::sync::Arc::new(inputs.session));
        request.frontend = "dockerfile.v0".to_owned();
        request.options = inputs.options;
        request.entitlements = inputs.entitlements;
        request.exports = ["tar", "oci"]
            .map(|kind| (kind.to_owned(), Default::default()))
            .into();
        let (events, _watcher) = tokio::sync::mpsc::unbounded_channel();
        let outcome = self.solve(request, events, &CancelToken::new()).await;
        outcome.map(drop).map_err(|error| match error {
            ClientError::Daemon(failure) => {
                let ranges = failure.sources.iter().flat_map(|(_, ranges)| ranges);
                Failed::at(failure.message.clone(), ranges)
            }
            other => panic!("{other}"),
        })
    }
}

fn check_through(daemon: &Daemon, known: &[&str]) {
    let base = harness::base().expect("the daemon needed it");
    let dir = scratch();
    open_to_all(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (address, tls) = (daemon.address(), TlsFiles::default());
        let client = Client::connect(&address, &tls).await;
        let client = client.expect("the daemon answers");
        let bench = Bench::new(client, dir.path(), base).await;
        bench.check_all(&Cases::load(), known).await;
    });
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("permissions");
}

fn check_for(user: User, known: &[&str]) {
    match Daemon::start(user) {
        Ok(mut daemon) => {
            check_through(&daemon, &[&DIFFERENT[..], &OTHER_WORDS, known].concat());
            daemon.stop();
        }
        Err(reason) => report(&format!("skipped: {user:?}: {reason}")),
    }
}

#[test]
fn dockerfiles_give_the_same_through_a_daemon() {
    check_for(User::Root, &[]);
}

#[test]
fn dockerfiles_give_the_same_for_an_ordinary_user() {
    check_for(User::Subordinate, &NOT_FOR_USERS);
}
