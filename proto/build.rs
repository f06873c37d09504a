//! Generates the Rust types and services of the wire contract, and the descriptors that reflection
//! shows; protox is a compiler in Rust, so no `protoc`.

use std::path::PathBuf;

use prost::Message as _;

const FILES: &[&str] = &[
    "pb/ops.proto",
    "google/rpc/status.proto",
    "buildkit/caps.proto",
    "buildkit/control.proto",
    "buildkit/errdefs.proto",
    "buildkit/gateway.proto",
    "buildkit/sourcepolicy.proto",
    "buildkit/worker.proto",
    "session/exporter.proto",
    "session/filesync.proto",
    "session/fsutil.proto",
    "session/secrets.proto",
    "session/ssh.proto",
    "session/upload.proto",
    "containerd/content.proto",
    "otel/trace_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = prost_build::Config::new();
    // Ordered maps, so that encoding the same message twice gives the same bytes.
    config.btree_map(["."]);
    // What carries file data is not copied once more.
    config.bytes([
        ".fsutil.types.Packet.data",
        ".containerd.services.content.v1.ReadContentResponse.data",
        ".containerd.services.content.v1.WriteContentRequest.data",
        ".moby.buildkit.v1.BytesMessage.data",
        ".moby.buildkit.v1.frontend.FdMessage.Data",
        ".moby.filesync.v1.BytesMessage.data",
        ".moby.sshforward.v1.BytesMessage.data",
        ".moby.upload.v1.BytesMessage.data",
    ]);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
