//! Images that are larger than they need be: the daemon reads of them what it can hold, and says what is
//! too large (GHSA-72x6-4j93-7w86).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use lamina_types::Digest;
use serde_json::json;
use tokio::sync::mpsc;

use super::raw::block_on;
use super::rig::Daemon;
use super::rig::daemon_of_root;

/// No disk here holds that much, no memory either.
const TERABYTE: u64 = 1 << 40;

/// What a daemon may take more for one of these images.
const MEMORY_KIB: u64 = 96 << 10;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An OCI layout of a client's, whose blobs need not be what they are called.
struct Layout(PathBuf);

impl Layout {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("made");
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(dir.join("oci-layout"), version).expect("written");
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        fs::write(dir.join("index.json"), index).expect("written");
        Self(dir.to_owned())
    }

    fn put(&self, digest: &Digest, data: &[u8]) -> fs::File {
        let name = digest.to_string().replace(':', "/");
        let path = self.0.join("blobs").join(name);
        fs::write(&path, data).expect("written");
        fs::File::options().write(true).open(path).expect("there")
    }

    fn add(&self, data: &[u8]) -> Digest {
        let digest = Digest::of(data);
        self.put(&digest, data);
        digest
    }

    /// Adds a blob that has no end in sight, and takes no space.
    fn add_endless(&self, name: &[u8]) -> Digest {
        let digest = Digest::of(name);
        let file = self.put(&digest, b"{");
        file.set_len(TERABYTE).expect("grown");
        digest
    }

    fn manifest(&self, config: &Digest, config_size: u64, layers: usize) -> Digest {
        let layer =
            json!({ "mediaType": LAYER, "digest": Digest::of(b"layer").to_string(), "size": 9 });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config.to_string(), "size": config_size },
            "layers": vec![layer; layers],
        });
        self.add(manifest.to_string().as_bytes())
    }
}

async fn build(daemon: &Daemon, layout: &Layout, image: &Digest) -> Result<(), ClientError> {
    let session = LocalSession::builder()
        .oci_layout("layout", &layout.0)
        .build();
    let mut request = BuildRequest::new(Arc::new(session));
    let identifier = format!("oci-layout://x/image@{image}");
    let image = State::source(&identifier, &[("oci.store", "layout")], None);
    request.definition = Some(image.definition());
    request.exports.push(("local".to_owned(), BTreeMap::new()));
    let client = Client::connect(&daemon.address(), &TlsFiles::default()).await;
    let (events, _) = mpsc::unbounded_channel();
    let client = client.expect("it listens");
    client
        .solve(request, events, &CancelToken::new())
        .await
        .map(drop)
}

#[test]
fn what_is_too_large_is_not_read() {
    let mut daemon = daemon_of_root!();
    let layout = Layout::new(&daemon.lamina.dir().join("layout"));
    let config = layout.add(b"{}");
    let endless = layout.add_endless(b"config");
    let unending = "[".repeat(3 << 20);
    let images = [
        ("manifest", layout.add_endless(b"manifest")),
        ("config", layout.manifest(&endless, TERABYTE, 0)),
        (
            "config that was said to be small",
            layout.manifest(&endless, 2, 0),
        ),
        ("nesting", layout.add(unending.as_bytes())),
        ("number of layers", layout.manifest(&config, 2, 20_000)),
    ];
    block_on(async {
        for (name, image) in &images {
            let before = daemon.memory("VmRSS:");
            let failed = build(&daemon, &layout, image).await;
            let error = failed.expect_err(name).to_string();
            let grown = daemon.memory("VmHWM:").saturating_sub(before);
            println!("{name}: {grown} KiB more memory: {error}");
            assert!(grown < MEMORY_KIB, "{name}: {grown} KiB more memory");
            assert!(!error.contains("panic"), "{name}: {error}");
        }
    });
    daemon.stop();
}
