//! bollard: a client in Rust that uploads its context as an archive (row SVC-17).

use bollard::grpc::build::ImageBuildFrontendOptions;
use bollard::grpc::build::ImageBuildLoadInput;
use bollard::grpc::driver::Export as _;
use bollard::grpc::driver::ImageExporterEnum;
use bollard::grpc::driver::buildkitd::BuildkitDaemon;
use bollard::grpc::driver::buildkitd::Endpoint;
use bollard::grpc::export::ImageExporterOutput;

use super::rig::Daemon;
use crate::harness::User;
use crate::harness::skip;

fn context(dockerfile: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", dockerfile), ("f", "content\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .expect("appended");
    }
    archive.into_inner().expect("finished")
}

fn export(daemon: &Daemon, dockerfile: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let target = daemon.lamina.dir().join("image.tar");
    let output = ImageExporterOutput::builder("docker.io/library/app:1").dest(&target);
    let endpoint = Endpoint::from_shared(daemon.address()).expect("an address");
    let exported = BuildkitDaemon::new(endpoint).export(
        ImageExporterEnum::OCI(output),
        ImageBuildFrontendOptions::builder().build(),
        ImageBuildLoadInput::Upload(context(dockerfile).into()),
        None,
        None,
    );
    runtime
        .block_on(exported)
        .map_err(|error| error.to_string())
}

#[test]
fn an_uploaded_archive_is_built_and_exported() {
    let mut daemon = match Daemon::start(User::Root) {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    export(&daemon, "FROM scratch\nCOPY f /f\n").expect("built");
    let file = std::fs::File::open(daemon.lamina.dir().join("image.tar")).expect("written");
    let mut archive = tar::Archive::new(file);
    let has_index = archive.entries().expect("an archive").any(|entry| {
        let entry = entry.expect("an entry");
        entry.path().expect("a path").ends_with("index.json")
    });
    assert!(has_index);
    let error = export(&daemon, "FROM scratch\nCOPY missing /f\n").expect_err("fails");
    assert!(error.contains("missing"), "{error}");
    daemon.stop();
}
