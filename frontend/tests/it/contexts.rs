//! Where things come from, and what is said of the result: options that no recorded case has.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_frontend::DockerfileFrontend;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::CacheOption;
use lamina_llb::Frontend;
use lamina_proto::pb;
use lamina_types::Digest;
use prost::Message;
use serde_json::Value;
use serde_json::json;

use crate::bridge::RecordingBridge;
use crate::bridge::ops;
use crate::bridge::sources;

const COPIES: &str = "FROM scratch\nCOPY a /\n";

async fn build(bridge: RecordingBridge) -> (Arc<RecordingBridge>, Result<BuildResult, BuildError>) {
    let bridge = Arc::new(bridge);
    let result = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    (bridge, result)
}

/// Returns the sources of what is solved last.
async fn built(bridge: RecordingBridge) -> Vec<pb::SourceOp> {
    let (bridge, result) = build(bridge).await;
    assert!(result.is_ok(), "{:?}", result.err());
    sources(&bridge.result().expect("a definition is solved"))
}

/// Returns a definition of one directory of the client.
fn directory(name: &str) -> pb::Definition {
    let source = pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: format!("local://{name}"),
            ..pb::SourceOp::default()
        })),
        ..pb::Op::default()
    };
    let source = source.encode_to_vec();
    let digest = Digest::of(&source).to_string();
    let input = pb::Input { digest, index: 0 };
    let terminal = pb::Op {
        inputs: vec![input],
        ..pb::Op::default()
    };
    pb::Definition {
        def: vec![source, terminal.encode_to_vec()],
        ..pb::Definition::default()
    }
}

/// Row FDF-04: `contextkey` says which option has the address of the context, `dockerfilekey` which
/// directory has the Dockerfile, even if the context is elsewhere.
#[tokio::test]
async fn other_names_for_context_and_dockerfile() {
    let options = [
        ("contextkey", "place"),
        ("place", "https://h.test/x.git"),
        ("context", "https://h.test/not-this.git"),
        ("dockerfilekey", "files"),
    ];
    let mut bridge = RecordingBridge::of("not this one", &options);
    bridge.add("files", "Dockerfile", COPIES.as_bytes());
    let found = built(bridge).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].identifier, "git://h.test/x.git");
}

/// Row FDF-05.
#[tokio::test]
async fn inputs_stand_for_context_and_dockerfile() {
    let mut bridge = RecordingBridge::of("not this one", &[]);
    bridge.add("files", "Dockerfile", COPIES.as_bytes());
    let inputs = [
        ("context", directory("tree")),
        ("dockerfile", directory("files")),
    ];
    bridge.inputs = inputs.map(|(name, input)| (name.to_owned(), input)).into();
    let found = built(bridge).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].identifier, "local://tree");
}

/// Row FDF-05: with `dockerfilekey` the Dockerfile is one of the client's after all.
#[tokio::test]
async fn a_named_directory_goes_before_the_input() {
    let mut bridge = RecordingBridge::of("not this one", &[("dockerfilekey", "mine")]);
    bridge.add("mine", "Dockerfile", COPIES.as_bytes());
    bridge.inputs = [("dockerfile".to_owned(), directory("files"))].into();
    assert_eq!(built(bridge).await[0].identifier, "local://context");
}

/// Row FDF-02: an address of a file that is no archive is one of a Dockerfile.
#[tokio::test]
async fn the_context_may_be_a_dockerfile() {
    let url = "https://h.test/Dockerfile";
    let mut bridge = RecordingBridge::of("not this one", &[("context", url)]);
    bridge.add(url, "context", b"FROM scratch\nCOPY context /\n");
    let found = built(bridge).await;
    assert_eq!(found[0].identifier, url);
    assert_eq!(found[0].attrs["http.filename"], "context");
}

/// Row FDF-21.
#[tokio::test]
async fn the_old_form_of_caches_is_understood() {
    let options = [("cache-from", "h.test/a:1,h.test/b")];
    let (bridge, result) = build(RecordingBridge::of("FROM scratch\nCOPY a /\n", &options)).await;
    assert!(result.is_ok(), "{:?}", result.err());
    let import = |reference: &str| CacheOption {
        kind: "registry".to_owned(),
        attrs: [("ref".to_owned(), reference.to_owned())].into(),
    };
    let imports = bridge.cache_imports.lock().expect("no test panics with it");
    assert_eq!(*imports, [import("h.test/a:1"), import("h.test/b")]);
}

/// Row FDF-24: what the config of an input says holds for steps and for the result.
#[tokio::test]
async fn an_input_may_have_a_config() {
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"},
        "config": {"Env": ["A=1"], "User": "app", "Entrypoint": ["/e"], "WorkingDir": "/w"}});
    let config = STANDARD.encode(config.to_string());
    let metadata = json!({"containerimage.config": config}).to_string();
    let options = [
        ("context:dep", "input:tree"),
        ("input-metadata:tree", &metadata),
    ];
    let mut bridge = RecordingBridge::of("FROM dep\nRUN x\n", &options);
    bridge.inputs = [("tree".to_owned(), directory("tree"))].into();
    let (bridge, result) = build(bridge).await;
    let metadata = result.expect("builds").metadata;
    let image: Value = serde_json::from_slice(&metadata["containerimage.config"]).expect("JSON");
    assert_eq!(image["config"]["Entrypoint"][0], "/e");
    let definition = bridge.result().expect("a definition is solved");
    let mut metas = ops(&definition).into_iter().filter_map(|op| match op.op {
        Some(pb::op::Op::Exec(exec)) => exec.meta,
        _ => None,
    });
    let meta = metas.next().expect("a process");
    assert_eq!(
        (&*meta.user, &*meta.cwd, &*meta.env[0]),
        ("app", "/w", "A=1")
    );
}

/// Row FDF-26: the hint says what the client shares the directory under.
#[tokio::test]
async fn named_directories_have_shared_keys() {
    let options = [
        ("context:other", "local:dir"),
        ("sharedkey:localdir:other", "key"),
    ];
    let found = built(RecordingBridge::of("FROM other\nRUN x\n", &options)).await;
    assert_eq!(found[0].attrs["local.sharedkeyhint"], "context:other-key");
}

/// Rows FDF-22, SRC-19: an address of ssh is one of a repository, and the client's agent is asked.
#[tokio::test]
async fn named_contexts_are_reached_through_ssh() {
    for address in ["ssh://git@h.test:22/x.git#v1", "git@h.test:x.git#v1"] {
        let options = [("context:other", address)];
        let found = built(RecordingBridge::of("FROM other\nRUN x\n", &options)).await;
        assert!(found[0].identifier.ends_with("/x.git#v1"), "{found:?}");
        assert_eq!(found[0].attrs["git.mountsshsock"], "default", "{address}");
    }
}

/// Row FDF-31: there is no answer, and the client is told so by name.
#[tokio::test]
async fn definitions_are_no_answer() {
    let options = [("requestid", "frontend.convertllb")];
    let (_, result) = build(RecordingBridge::of(COPIES, &options)).await;
    let error = result.err().expect("refused");
    assert_eq!(error.subrequest.as_deref(), Some("frontend.convertllb"));
}

/// Row FDF-48.
#[tokio::test]
async fn the_result_says_what_it_is() {
    let image = br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"}}"#;
    for (platforms, suffixes) in [
        ("linux/amd64", vec![""]),
        (
            "linux/amd64,linux/arm64",
            vec!["/linux/amd64", "/linux/arm64"],
        ),
    ] {
        let options = [
            ("platform", platforms),
            ("build-arg:SOURCE_DATE_EPOCH", "7"),
        ];
        let mut bridge = RecordingBridge::of("FROM base\n", &options);
        let name = "docker.io/library/base:latest".to_owned();
        bridge.images.insert(name, image.to_vec());
        let metadata = build(bridge).await.1.expect("builds").metadata;
        let mut wanted = vec!["refs.platforms".to_owned()];
        for suffix in suffixes {
            for name in ["containerimage.base.config", "containerimage.config"] {
                wanted.push(format!("{name}{suffix}"));
            }
            let epoch = format!("source.date.epoch{suffix}");
            assert_eq!(metadata[&epoch], b"7", "{platforms}");
            wanted.push(epoch);
        }
        wanted.sort();
        assert_eq!(metadata.keys().cloned().collect::<Vec<_>>(), wanted);
        let listed: Value = serde_json::from_slice(&metadata["refs.platforms"]).expect("JSON");
        let ids = listed["Platforms"].as_array().expect("a list").iter();
        let ids: Vec<&str> = ids.filter_map(|listed| listed["ID"].as_str()).collect();
        assert_eq!(ids.join(","), platforms);
    }
}
