//! TCP with certificates (rows NET-02, FLG-07).

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use lamina_proto::control::InfoRequest;
use lamina_proto::control::control_client::ControlClient;
use tonic::transport::Certificate;
use tonic::transport::Channel;
use tonic::transport::ClientTlsConfig;
use tonic::transport::Endpoint;
use tonic::transport::Identity;

use crate::Test;
use crate::daemon::Daemon;
use crate::daemon::Home;
use crate::daemon::is_root;
use crate::daemon::report;
use crate::daemon::wait_until;

pub(crate) const TESTS: &[Test] = &[(
    "clients_must_show_a_certificate",
    clients_must_show_a_certificate,
)];

/// Makes an authority, and a certificate for this machine that is good for both sides.
const MAKE: &str = r#"
set -e
cd "$1"
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
openssl req $new -keyout key.pem -out request -subj /CN=localhost
echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' > extensions
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile extensions -out cert.pem
"#;

fn certificates(folder: &Path) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", MAKE, "sh"]).arg(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn clients_must_show_a_certificate() {
    let home = Home::new();
    if !is_root("clients_must_show_a_certificate") {
        return;
    }
    if !certificates(&home.path("")) {
        return report("skipped: clients_must_show_a_certificate needs openssl");
    }
    let file = |name: &str| home.path(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
    let args = [
        "--addr=tcp://127.0.0.1:0",
        &format!("--tlscacert={ca}"),
        &format!("--tlscert={cert}"),
        &format!("--tlskey={key}"),
    ];
    let _daemon = Daemon(home.command(&args).spawn().expect("started"));
    home.wait_for_log("running server on tcp://");
    let mut port = None;
    wait_until("the port is told", || {
        let log = home.log();
        let rest = log.split("tcp://127.0.0.1:").nth(1).unwrap_or_default();
        port = rest
            .split('"')
            .next()
            .and_then(|port| port.parse::<u16>().ok());
        port.is_some()
    });
    let address = format!("https://localhost:{}", port.expect("waited for"));
    let read = |path: &str| std::fs::read(path).expect("made");
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&ca)));
    let known = trusting
        .clone()
        .identity(Identity::from_pem(read(&cert), read(&key)));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        ask(&address, known.clone()).await.expect("answered");
        let refused = ask(&address, trusting).await;
        assert!(refused.is_err(), "without a certificate");
        ask(&address, known)
            .await
            .expect("one bad client is not the end");
    });
}

async fn ask(address: &str, tls: ClientTlsConfig) -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.tls_config(tls)?;
    let mut client = ControlClient::<Channel>::new(endpoint.connect().await?);
    client.info(InfoRequest {}).await?;
    Ok(())
}
