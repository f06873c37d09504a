//! Frontends from images (rows FGW-01 to FGW-12, GCL-18).
//!
//! The image holds a program of these tests (`tests/frontend`), which is built and pushed by
//! the daemon under test.

mod allowed;
mod endings;
mod everything;
mod stand_in;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::LazyLock;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_session::LocalSession;
use lamina_testkit::docker_registry::DockerRegistry;
use lamina_testkit::docker_registry::Users;
use lamina_types::CancelToken;
use tempfile::TempDir;

use super::rig::Daemon;
use super::rig::buildx;
use super::rig::copy_file;
use super::rig::copy_program;
use crate::harness;
use crate::harness::Finished;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::base;
use crate::harness::program;
use crate::scratch::scratch;

/// What the program can, as its image says.
const CAPS: &str = "moby.buildkit.frontend.inputs,moby.buildkit.frontend.contexts";

/// The program with its libraries and the base, made once.
static TREE: LazyLock<TempDir> = LazyLock::new(|| {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.ancestors().nth(2).expect("target/debug");
    let built = target.join("examples/test-frontend");
    assert!(
        built.exists(),
        "{}: run cargo build --examples",
        built.display()
    );
    let dir = scratch();
    let root = dir.path().join("root");
    let program = dir.path().join("test-frontend");
    slim(&built, &program);
    copy_program(&program, &root);
    fs::rename(
        root.join(program.strip_prefix("/").expect("absolute")),
        root.join("fe"),
    )
    .expect("renamed");
    dir
});

/// Copies a program without what only debuggers read.
fn slim(from: &Path, to: &Path) {
    let stripped = program("strip").is_some_and(|strip| {
        let status = Command::new(strip).arg("-o").arg(to).arg(from).status();
        status.is_ok_and(|status| status.success())
    });
    if !stripped {
        copy_file(from, to);
    }
}

/// A daemon, a registry, and the frontend in it.
struct Fixture {
    user: User,
    daemon: Daemon,
    registry: DockerRegistry,
}

impl Fixture {
    fn start(user: User) -> Result<Self, String> {
        buildx()?;
        base()?;
        let daemon = Daemon::start(user)?;
        let registry = DockerRegistry::try_start(Users::Everyone)?;
        let fixture = Self {
            user,
            daemon,
            registry,
        };
        fixture.push("fe", &fixture.recipe());
        Ok(fixture)
    }

    fn recipe(&self) -> String {
        format!(
            "FROM base\nCOPY --from=program / /\nENTRYPOINT [\"/fe\"]\nLABEL moby.buildkit.frontend.caps={CAPS}\n"
        )
    }

    /// Builds an image and pushes it as `NAME:1`.
    fn push(&self, name: &str, dockerfile: &str) {
        let output = format!(
            "type=image,name={},push=true,compression=uncompressed",
            self.image(name)
        );
        let program = format!("program={}", tree().display());
        let pushed = self
            .daemon
            .build(dockerfile, &["--build-context", &program, "-o", &output]);
        pushed.ok();
    }

    /// Returns the full name of an image that was pushed.
    fn image(&self, name: &str) -> String {
        format!("{}/{name}:1", self.registry.host)
    }

    /// Builds with docker-buildx what a syntax line gives to the frontend `name`.
    fn by_syntax_line(&self, name: &str, args: &[&str]) -> Finished {
        self.with_syntax(&self.image(name), args)
    }

    fn with_syntax(&self, syntax: &str, args: &[&str]) -> Finished {
        prepare(&self.daemon.lamina, syntax);
        let image = format!("IMAGE={}", self.image("fe"));
        let mut all = vec!["--secret", "id=token,src=token", "--build-arg", &image];
        all.extend_from_slice(args);
        let mut command = vec!["build"];
        command.extend_from_slice(&all);
        command.push("ctx");
        self.daemon.buildx(&command)
    }

    /// Builds with our own client and `gateway.v0`.
    fn by_gateway(&self, name: &str, options: &[(&str, &str)]) -> Result<(), Failure> {
        self.by_gateway_with(name, options, |_| {})
    }

    fn by_gateway_with(
        &self,
        name: &str,
        options: &[(&str, &str)],
        change: impl FnOnce(&mut BuildRequest),
    ) -> Result<(), Failure> {
        prepare(&self.daemon.lamina, "");
        let dir = self.daemon.lamina.dir();
        let session = LocalSession::builder()
            .local_dir("context", dir.join("ctx"))
            .secret_bytes("token", "12345")
            .directory_target(0, dir.join("out"));
        let mut request = BuildRequest::new(Arc::new(session.build()));
        request.frontend = "gateway.v0".to_owned();
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let own = [
            ("source", self.image(name)),
            ("build-arg:IMAGE", self.image("fe")),
        ];
        let own = own.iter().map(|(key, value)| pair((key, value)));
        request.options = own.chain(options.iter().copied().map(pair)).collect();
        request.exports = vec![("local".to_owned(), BTreeMap::new())];
        change(&mut request);
        let address = self.daemon.address();
        let built = runtime().block_on(async {
            let client = Client::connect(&address, &Default::default()).await?;
            let (events, _) = tokio::sync::mpsc::unbounded_channel();
            client.solve(request, events, &CancelToken::new()).await
        });
        match built {
            Ok(_) => Ok(()),
            Err(ClientError::Daemon(failure)) => Err(*failure),
            Err(error) => panic!("{error}"),
        }
    }

    fn report(&self) -> String {
        self.daemon.lamina.read("out/report")
    }
}

/// Returns the folder with the program as `/fe`.
fn tree() -> PathBuf {
    TREE.path().join("root")
}

/// Writes a build context with a syntax line.
fn prepare(lamina: &Lamina, syntax: &str) {
    lamina.write("ctx/words.txt", "some words\n");
    lamina.write("token", "12345");
    let dockerfile = format!("# syntax={syntax} and more\nFROM scratch\nCOPY words.txt /plain\n");
    lamina.write("ctx/Dockerfile", dockerfile);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// Runs `test` with a daemon of root's, and with daemons of users with one id and with many.
fn for_every_user(test: fn(&Fixture)) {
    harness::for_every_user(Fixture::start, |_, mut fixture| {
        test(&fixture);
        fixture.daemon.stop();
    });
}

/// Starts a fixture of root's, or leaves the test with the reason.
macro_rules! root_fixture {
    () => {
        match $crate::daemon::frontends::Fixture::start($crate::harness::User::Root) {
            Ok(fixture) => fixture,
            Err(reason) => $crate::harness::skip!("{reason}"),
        }
    };
}
use root_fixture;
