//! What clients may call the daemon (row NET-03), byte by byte: libraries would not send all of it.
//!
//! Stock clients send the host of a tcp address, or `localhost` for a socket. Our HTTP/2 library
//! resets a call whose `:authority` is no authority by RFC 3986, such as a percent-encoded path,
//! before anything of ours sees it; the connection and its other calls go on.

use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use super::rig::Daemon;
use super::rig::daemon_of_root;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATH: &str = "/moby.buildkit.v1.Control/Info";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Headers,
    Reset,
    GoAway,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes headers as HPACK literals without indexing.
fn headers(authority: Option<&str>) -> Vec<u8> {
    let mut all = vec![(":method", "POST"), (":scheme", "http"), (":path", PATH)];
    all.extend(authority.map(|authority| (":authority", authority)));
    all.extend([("content-type", "application/grpc"), ("te", "trailers")]);
    let mut block = Vec::new();
    for (name, value) in all {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

struct Connection(UnixStream);

impl Connection {
    fn open(daemon: &Daemon) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).expect("connected");
        stream.write_all(PREFACE).expect("written");
        stream
            .write_all(&frame(SETTINGS, 0, 0, &[]))
            .expect("written");
        Self(stream)
    }

    /// Asks for the daemon's version, and returns the kind of the first frame of the answer.
    fn ask(&mut self, stream: u32, authority: Option<&str>) -> Answer {
        let block = headers(authority);
        let mut call = frame(HEADERS, END_HEADERS, stream, &block);
        call.extend(frame(DATA, END_STREAM, stream, &[0; 5]));
        self.0.write_all(&call).expect("written");
        loop {
            let (kind, on) = self.next();
            match kind {
                HEADERS if on == stream => return Answer::Headers,
                RESET if on == stream => return Answer::Reset,
                GO_AWAY => return Answer::GoAway,
                _ => {}
            }
        }
    }

    /// Reads a frame; returns its type and its stream.
    fn next(&mut self) -> (u8, u32) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("fits")];
        self.0.read_exact(&mut payload).expect("its payload");
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        (head[3], stream)
    }
}

#[test]
fn clients_may_call_the_daemon_what_they_like() {
    let mut daemon = daemon_of_root!();
    for authority in [
        None,
        Some("localhost"),
        Some("a.b.c:99"),
        Some("[::1]:80"),
        Some("_"),
        Some("user@name"),
        Some("lamina-builder_0"),
    ] {
        let mut connection = Connection::open(&daemon);
        assert_eq!(
            connection.ask(1, authority),
            Answer::Headers,
            "{authority:?}"
        );
    }
    // What is no authority harms that call alone.
    let mut connection = Connection::open(&daemon);
    for (number, authority) in [(1, "%2Frun%2Fbuildkit%2Fbuildkitd.sock"), (5, "")] {
        assert_eq!(
            connection.ask(number, Some(authority)),
            Answer::Reset,
            "{authority:?}"
        );
        assert_eq!(
            connection.ask(number + 2, Some("localhost")),
            Answer::Headers
        );
    }
    drop(connection);
    daemon.stop();
}
