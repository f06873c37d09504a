//! Clients whose sessions lie, stall or never end: each build gets a clear error, nothing of it is
//! kept, and the daemon goes on (rows SVC-02, SVC-05, SVC-11, SVC-14, SVC-19, SES-08).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_proto::control::InfoRequest;
use lamina_proto::control::control_client::ControlClient;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::packet::PacketType;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use lamina_types::Digest;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::Channel;

use super::fake::DIRECTORY;
use super::fake::Fake;
use super::fake::SYMLINK;
use super::fake::data;
use super::fake::end;
use super::fake::entry;
use super::fake::file;
use super::fake::packet;
use super::raw::attach;
use super::raw::block_on;
use super::raw::connect;
use super::raw::solve;
use super::rig::Daemon;
use super::rig::daemon_of_root;
use crate::waiting::wait_until;

/// Builds the directory of a fake client, or something else of it.
async fn build(channel: &Channel, fake: Fake, what: &State) -> Result<(), Status> {
    static BUILDS: AtomicU32 = AtomicU32::new(0);
    let number = BUILDS.fetch_add(1, Ordering::Relaxed);
    let (id, session) = (format!("b{number}"), format!("s{number}"));
    let served = tokio::spawn(attach(channel.clone(), &session, fake.routes()).await);
    let built = solve(channel, &id, &session, Some(what.definition())).await;
    served.abort();
    built.map(drop)
}

fn context() -> State {
    State::local("context")
}

/// Says that the daemon answers, and that an honest client's build gives what it should.
async fn assert_well(daemon: &Daemon, channel: &Channel) {
    let mut control = ControlClient::new(channel.clone());
    control.info(InfoRequest {}).await.expect("it answers");
    let dir = daemon.lamina.dir();
    let honest = dir.join("honest");
    fs::create_dir_all(&honest).expect("made");
    fs::write(honest.join("f"), "honest").expect("written");
    let out = dir.join("out");
    let session = LocalSession::builder()
        .local_dir("context", &honest)
        .directory_target(0, &out)
        .build();
    let mut request = BuildRequest::new(Arc::new(session));
    request.definition = Some(context().definition());
    request.exports.push(("local".to_owned(), BTreeMap::new()));
    let client = Client::connect(&daemon.address(), &TlsFiles::default()).await;
    let (events, _) = mpsc::unbounded_channel();
    let client = client.expect("it listens");
    let built = client.solve(request, events, &CancelToken::new()).await;
    built.expect("built");
    let names = fs::read_dir(&out)
        .expect("exported")
        .map(|entry| entry.expect("read").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["f"]);
    assert_eq!(fs::read_to_string(out.join("f")).expect("there"), "honest");
}

/// Looks for a file of that name, anywhere below.
fn find(dir: &Path, name: &str) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name() == name || (is_dir && find(&entry.path(), name))
    })
}

/// What a client sends, and what is said of it.
fn breaches() -> Vec<(&'static str, Vec<Packet>, &'static str)> {
    vec![
        ("up", vec![file("../evil", 0)], "escape check: \"../evil\""),
        (
            "absolute",
            vec![file("/evil", 0)],
            "absolute path: \"/evil\"",
        ),
        (
            "hidden up",
            vec![entry("a", DIRECTORY, 0, ""), file("a/../../evil", 0)],
            "escape check",
        ),
        (
            "out of order",
            vec![file("b", 0), file("a", 0)],
            "out of order: \"a\"",
        ),
        (
            "twice",
            vec![file("a", 0), file("a", 0)],
            "out of order: \"a\"",
        ),
        (
            "through a symlink",
            vec![entry("a", SYMLINK, 0, "/tmp"), file("a/evil", 0)],
            "out of order: \"a/evil\"",
        ),
        (
            "a hard link out",
            vec![entry("a", 0, 0, "../../evil")],
            "invalid link a to unknown path",
        ),
        (
            "data that nobody wants",
            vec![data(7, b"evil")],
            "not requested",
        ),
        (
            "a request",
            vec![packet(PacketType::PacketReq)],
            "unexpected packet of type 1",
        ),
        (
            "no such packet",
            vec![Packet {
                r#type: 99,
                ..Packet::default()
            }],
            "unexpected packet of type 99",
        ),
        (
            "an entry after the last",
            vec![end(), file("evil", 0)],
            "an entry after the last one",
        ),
    ]
}

/// They put nothing elsewhere (GHSA-49p4-px3h-rq49).
#[test]
fn directories_that_break_the_protocol() {
    let mut daemon = daemon_of_root!();
    let broken = "the client broke the transfer protocol";
    block_on(async {
        let channel = connect(&daemon).await;
        for (name, packets, words) in breaches() {
            let failed = build(&channel, Fake::sending(packets), &context()).await;
            let status = failed.expect_err(name);
            let message = status.message();
            assert!(message.contains(broken), "{name}: {message}");
            assert!(message.contains(words), "{name}: {message}");
        }
        let mut reason = packet(PacketType::PacketErr);
        reason.data = Bytes::from_static(b"disk on fire");
        let failed = build(
            &channel,
            Fake::sending(vec![file("evil", 0), reason]),
            &context(),
        )
        .await;
        let status = failed.expect_err("the client says so");
        assert!(status.message().contains("disk on fire"), "{status:?}");
        assert_well(&daemon, &channel).await;
    });
    daemon.stop();
    assert!(!find(daemon.lamina.dir(), "evil"), "it got somewhere");
}

#[test]
fn files_of_another_size_than_was_said() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        // A file may change while it is sent; what came is what it is.
        for said in [0, 4, 6, 1 << 40] {
            let fake = Fake::sending(vec![file("f", said), end()]);
            build(&channel, fake, &context()).await.expect("built");
        }
        for said in [-1, i64::MIN] {
            let fake = Fake::sending(vec![file("f", said), end()]);
            build(&channel, fake, &context())
                .await
                .expect_err("no size");
        }
        assert_well(&daemon, &channel).await;
    });
    daemon.stop();
}

/// What was taken of a directory without end.
#[derive(Clone, Default)]
struct Taken {
    entries: Arc<AtomicU64>,
    /// Held by whoever reads the directory.
    readers: Arc<()>,
}

impl Taken {
    fn list(&self) -> impl Iterator<Item = Packet> + Send + use<> {
        let (entries, reader) = (Arc::clone(&self.entries), Arc::clone(&self.readers));
        (0..).map(move |index| {
            // Moved in, so that it goes with the iterator.
            let _reader = &reader;
            entries.fetch_add(1, Ordering::Relaxed);
            file(&format!("{index:016}"), 0)
        })
    }

    fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Says whether somebody began to read, and nobody reads any more. The fake and the test have one
    /// each.
    fn has_ended(&self) -> bool {
        self.entries() > 0 && Arc::strong_count(&self.readers) <= 2
    }
}

#[test]
fn a_directory_without_end_stops_with_its_build() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        let taken = Taken::default();
        let endless = Fake {
            listing: Arc::new({
                let taken = taken.clone();
                move || Box::new(taken.list())
            }),
            ..Fake::honest()
        };
        let context = context();
        let before = daemon.memory("VmRSS:");
        let building = build(&channel, endless, &context);
        let ended = tokio::time::timeout(Duration::from_secs(2), building).await;
        assert!(ended.is_err(), "{ended:?}");
        // The call that transferred it ends, though the client would go on for ever.
        wait_until("nothing is taken any more", || taken.has_ended());
        let (entries, grown) = (taken.entries(), daemon.memory("VmHWM:") - before);
        println!("{entries} entries taken, {grown} KiB more memory");
        assert!(entries > 1_000, "{entries} entries are no end");
        assert!(grown < 96 << 10, "{entries} entries: {grown} KiB more");
        assert_well(&daemon, &channel).await;
        assert_eq!(taken.entries(), entries, "it went on");
    });
    daemon.stop();
}

#[test]
fn a_transfer_that_stalls_stops_with_its_build() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        for (name, fake) in [
            ("in the list", Fake::sending(vec![file("a", 5)])),
            (
                "in a file",
                Fake {
                    data: |id| vec![data(id, b"12")],
                    ..Fake::honest()
                },
            ),
        ] {
            let context = context();
            let building = build(&channel, fake, &context);
            let ended = tokio::time::timeout(Duration::from_secs(1), building).await;
            assert!(ended.is_err(), "{name}: {ended:?}");
        }
        assert_well(&daemon, &channel).await;
    });
    daemon.stop();
}

#[test]
fn a_secret_that_is_too_large() {
    let mut daemon = daemon_of_root!();
    block_on(async {
        let channel = connect(&daemon).await;
        let attrs = [("http.authheadersecret", "big")];
        let download = State::source("http://127.0.0.1:1/x", &attrs, None);
        let fake = Fake {
            secret_bytes: 100 << 20,
            ..Fake::honest()
        };
        let failed = build(&channel, fake, &download).await;
        let status = failed.expect_err("too large");
        let message = status.message();
        assert!(message.contains("message length too large"), "{message}");
        assert_well(&daemon, &channel).await;
    });
    daemon.stop();
}

/// Answers every request with a demand for a token.
fn demanding_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let realm = format!("http://{address}/token");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\",\
                 service=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

#[test]
fn credentials_that_never_come_stop_with_the_build() {
    let mut daemon = daemon_of_root!();
    let registry = demanding_registry();
    block_on(async {
        let channel = connect(&daemon).await;
        let image = State::image(&format!("{registry}/image:1"));
        let building = build(&channel, Fake::honest(), &image);
        let ended = tokio::time::timeout(Duration::from_secs(2), building).await;
        assert!(ended.is_err(), "{ended:?}");
        assert_well(&daemon, &channel).await;
    });
    daemon.stop();
}

#[test]
fn blobs_that_are_not_what_their_digest_says() {
    let mut daemon = daemon_of_root!();
    let layout = daemon.lamina.dir().join("layout");
    let manifest = Digest::of(b"the manifest");
    let (_, hex) = manifest
        .to_string()
        .split_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a digest");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("made");
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("written");
    fs::write(
        layout.join("index.json"),
        r#"{"schemaVersion":2,"manifests":[]}"#,
    )
    .expect("written");
    let lie = r#"{"evil":"not that"}"#;
    fs::write(layout.join("blobs/sha256").join(hex), lie).expect("written");
    block_on(async {
        let session = LocalSession::builder()
            .oci_layout("layout", &layout)
            .build();
        let mut request = BuildRequest::new(Arc::new(session));
        let identifier = format!("oci-layout://x/image@{manifest}");
        let image = State::source(&identifier, &[("oci.store", "layout")], None);
        request.definition = Some(image.definition());
        let client = Client::connect(&daemon.address(), &TlsFiles::default()).await;
        let (events, _) = mpsc::unbounded_channel();
        let client = client.expect("it listens");
        let failed = client.solve(request, events, &CancelToken::new()).await;
        let message = failed.expect_err("a lie").to_string();
        let found = format!("{manifest} has digest {}", Digest::of(lie.as_bytes()));
        assert!(message.contains(&found), "{message}");
        assert_well(&daemon, &connect(&daemon).await).await;
    });
    daemon.stop();
}
