//! What clients meet first (rows NET-03, BX-01), and what it costs to wait.

use std::time::Duration;
use std::time::Instant;

use http::Uri;
use hyper_util::rt::TokioIo;
use lamina_proto::control::InfoRequest;
use lamina_proto::control::ListWorkersRequest;
use lamina_proto::control::control_client::ControlClient;
use rustix::process::Signal;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::Test;
use crate::daemon::Home;
use crate::daemon::is_root;
use crate::daemon::report;

pub(crate) const TESTS: &[Test] = &[
    ("early_clients_wait", early_clients_wait),
    ("authorities_do_not_matter", authorities_do_not_matter),
    ("it_is_small_and_quick", it_is_small_and_quick),
];

/// What an idle daemon may hold in memory.
const MAX_RESIDENT: u64 = 20 << 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

async fn dial(home: &Home, authority: &'static str) -> Option<ControlClient<Channel>> {
    let path = home.socket();
    let endpoint = Endpoint::from_static(authority);
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            tokio::net::UnixStream::connect(path)
                .await
                .map(TokioIo::new)
        }
    });
    endpoint
        .connect_with_connector(connect)
        .await
        .ok()
        .map(ControlClient::new)
}

async fn dialled(home: &Home) -> ControlClient<Channel> {
    loop {
        if let Some(client) = dial(home, "http://localhost").await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn early_clients_wait() {
    if !is_root("early_clients_wait") {
        return;
    }
    let home = Home::new();
    let mut daemon = home.start(&[]);
    runtime().block_on(async {
        // As soon as there is a socket, long before there is an engine.
        let mut client = dialled(&home).await;
        let workers = client.list_workers(ListWorkersRequest::default()).await;
        let workers = workers.expect("answered").into_inner().record;
        assert_eq!(workers.len(), 1);
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0), "{}", home.log());
}

fn authorities_do_not_matter() {
    if !is_root("authorities_do_not_matter") {
        return;
    }
    let home = Home::new();
    let _daemon = home.start(&[]);
    runtime().block_on(async {
        drop(dialled(&home).await);
        for authority in [
            "http://localhost",
            "http://a.b.c:99",
            "http://[::1]",
            "http://_",
        ] {
            let mut client = dial(&home, authority).await.expect(authority);
            let info = client.info(InfoRequest {}).await;
            info.unwrap_or_else(|error| panic!("{authority}: {error}"));
        }
    });
}

fn it_is_small_and_quick() {
    if !is_root("it_is_small_and_quick") {
        return;
    }
    let home = Home::new();
    let begun = Instant::now();
    let daemon = home.start(&[]);
    let elapsed = runtime().block_on(async {
        let mut client = dialled(&home).await;
        client.info(InfoRequest {}).await.expect("answered");
        let elapsed = begun.elapsed();
        client
            .list_workers(ListWorkersRequest::default())
            .await
            .expect("answered");
        elapsed
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()));
    let status = status.expect("it runs");
    let size = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.expect(name).trim().trim_end_matches(" kB");
        number.parse::<u64>().expect("a number") << 10
    };
    let (all, own) = (size("VmRSS:"), size("RssAnon:"));
    report(&format!(
        "start to Info {elapsed:?}, {all} bytes resident, {own} of them not files"
    ));
    // How much of the program itself is in memory depends on how it was built, and the time on what
    // else the machine does.
    assert!(own <= MAX_RESIDENT, "{own} bytes resident");
}
