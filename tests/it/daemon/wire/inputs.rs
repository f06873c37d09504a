//! Results of one build as inputs of the next, and look-ups of sources (rows BX-09, CSOL-07, GW-09,
//! GW-12, GW-13, GW-29).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_client::ClientError;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::gateway::result::Result as Refs;
use lamina_proto::pb;
use serde_json::json;
use tonic::Code;

use super::Wire;
use super::reference_of;
use super::with_daemon;

const CONFIG: &str = "containerimage.config";

fn dockerfile(text: &str) -> BTreeMap<String, pb::Definition> {
    let tree = State::scratch().mkfile("/Dockerfile", 0o644, text);
    ["context", "dockerfile"]
        .map(|name| (name.to_owned(), tree.definition()))
        .into()
}

fn request(text: &str, options: &[(&str, &str)]) -> gateway::SolveRequest {
    let options = options
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    gateway::SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt: options.collect(),
        frontend_inputs: dockerfile(text),
        ..gateway::SolveRequest::default()
    }
}

/// As `bake` links targets: the definition of one result is the named context of another build, and
/// its configuration comes along as `input-metadata` (row FDF-24).
#[test]
fn a_result_is_a_named_context_of_the_next() {
    with_daemon(async |wire: &Wire| {
        let text = "FROM base\nENV WORD=passed\nWORKDIR /w\nRUN echo made > /made\n";
        let first = request(text, &[("context:base", "local:base")]);
        let first = wire.gateway.solve(first).await.expect("solved");
        let Some(Refs::Ref(one)) = &first.result else {
            panic!("one reference: {first:?}");
        };
        wire.gateway.evaluate(&one.id).await.expect("built");
        let config = STANDARD.encode(&first.metadata[CONFIG]);
        let metadata = json!({CONFIG: config}).to_string();

        let text = "FROM dep\nRUN cat /made > out; echo $WORD >> out; pwd >> out\n";
        let options = [
            ("context:dep", "input:dep"),
            ("input-metadata:dep", &metadata),
        ];
        let mut second = request(text, &options);
        let definition = one.def.clone().expect("how to make it again");
        second.frontend_inputs.insert("dep".to_owned(), definition);
        let second = wire.gateway.solve(second).await.expect("solved");
        let read = wire
            .gateway
            .read_file(&reference_of(&second), "/w/out", None)
            .await;
        assert_eq!(read.expect("written"), b"made\npassed\n/w\n");

        // Without the configuration there is only the tree.
        let mut bare = request(text, &options[..1]);
        let definition = one.def.clone().expect("how to make it again");
        bare.frontend_inputs.insert("dep".to_owned(), definition);
        let bare = wire.gateway.solve(bare).await.expect("solved");
        let read = wire
            .gateway
            .read_file(&reference_of(&bare), "/out", None)
            .await;
        assert_eq!(read.expect("written"), b"made\n\n/\n");
        let missing = request(text, &options);
        let missing = wire
            .gateway
            .solve(missing)
            .await
            .expect_err("no such input");
        assert!(missing.to_string().contains("dep"), "{missing}");
    });
}

fn meta(identifier: &str) -> gateway::ResolveSourceMetaRequest {
    gateway::ResolveSourceMetaRequest {
        source: Some(pb::SourceOp {
            identifier: identifier.to_owned(),
            ..pb::SourceOp::default()
        }),
        ..gateway::ResolveSourceMetaRequest::default()
    }
}

/// Serves one file under any path, as often as it is asked for.
fn serve(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // Whoever hangs up early gets no answer.
            let Ok(read) = stream.read(&mut request) else {
                continue;
            };
            let body = if request[..read].starts_with(b"HEAD") {
                ""
            } else {
                body
            };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                        Last-Modified: Thu, 01 Jan 1970 00:01:40 GMT\r\nContent-Length: ";
            write!(stream, "{head}{}\r\n\r\n{body}", body.len()).ok();
        }
    });
    format!("http://{address}")
}

/// Rows GW-09, GW-12 and GW-13: of any scheme, and always with the source.
#[test]
fn sources_are_looked_up() {
    with_daemon(async |wire: &Wire| {
        let gateway = &wire.gateway;
        let missing = gateway::ResolveSourceMetaRequest::default();
        match gateway.resolve_source_meta(missing).await {
            Err(ClientError::Daemon(failure)) => {
                assert_eq!(Code::from_i32(failure.code), Code::InvalidArgument);
            }
            other => panic!("no source: {other:?}"),
        }
        let local = gateway.resolve_source_meta(meta("local://base")).await;
        let local = local.expect("nothing to look up");
        assert_eq!(local.source.expect("row GW-13").identifier, "local://base");
        assert_eq!((local.image, local.http), (None, None));

        let url = format!("{}/dir/name.txt", serve("hello"));
        let file = gateway
            .resolve_source_meta(meta(&url))
            .await
            .expect("served");
        assert_eq!(file.source.expect("row GW-13").identifier, url);
        let file = file.http.expect("of a file");
        let digest = lamina_types::Digest::of(b"hello").to_string();
        assert_eq!(file.checksum, digest);
        assert_eq!(file.filename, "name.txt");
        assert_eq!(file.last_modified.map(|time| time.seconds), Some(100));

        let nobody = meta("docker-image://127.0.0.1:1/x:latest");
        let nobody = gateway
            .resolve_source_meta(nobody)
            .await
            .expect_err("nobody");
        assert!(
            nobody.to_string().contains("connection refused"),
            "{nobody}"
        );
    });
}

/// Rows CSOL-07 and GW-29.
#[test]
fn a_build_offers_its_inputs() {
    with_daemon(async |wire: &Wire| {
        let given = dockerfile("FROM scratch\n");
        let session = std::sync::Arc::new(lamina_session::LocalSession::builder().build());
        let mut request = lamina_client::BuildRequest::new(session);
        request.inputs = given.clone();
        let (gateway, held) = super::hold(&wire.client, request).await;
        assert_eq!(gateway.inputs().await.expect("inputs"), given);
        held.release().await.expect("released");
        assert_eq!(wire.gateway.inputs().await.expect("none"), BTreeMap::new());
    });
}
