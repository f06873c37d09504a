//! A server of a few lines whose answers a test decides.

use std::collections::BTreeMap;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower case name.
    pub headers: BTreeMap<String, String>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Call {
    /// Returns the value of a header by its lower case name; empty if it was not sent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The code.
    pub status: u16,
    /// Names and values; the length is added if it is not there.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Says nothing after so many bytes of head and body, and waits until the client hangs up.
    pub silent_after: Option<usize>,
}

impl Reply {
    /// Returns an answer without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Closes the connection after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }
}

/// Listens on loopback until dropped, and remembers what it was asked.
pub struct Server {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    stop: Arc<AtomicBool>,
}

type Handler = dyn Fn(&Call) -> Reply + Send + Sync;

impl Server {
    /// Starts a server that answers what `handler` says, but for the probe `/v2/`, which is answered 200.
    pub fn start(handler: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("bound"),
            calls: Arc::default(),
            stop: Arc::default(),
        };
        let (calls, stop) = (Arc::clone(&server.calls), Arc::clone(&server.stop));
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (calls, handler) = (Arc::clone(&calls), Arc::clone(&handler));
                // A client that goes away in the middle is none of the server's business.
                std::thread::spawn(move || {
                    let served = stream.and_then(|stream| serve(&stream, &calls, handler.as_ref()));
                    drop(served);
                });
            }
        });
        server
    }

    /// Returns host and port.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns all requests but the probe for the protocol.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.lock().expect("no panic in a server");
        let wanted = calls.iter().filter(|call| call.target != "/v2/");
        wanted.cloned().collect()
    }

    /// Returns the same as `METHOD target`.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        let calls = self.calls();
        calls
            .iter()
            .map(|call| format!("{} {}", call.method, call.target))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: &TcpStream, calls: &Mutex<Vec<Call>>, handler: &Handler) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(call) = read_call(&mut reader)? {
        calls
            .lock()
            .expect("no panic in a server")
            .push(call.clone());
        let reply = if call.target == "/v2/" {
            Reply::new(200, "{}")
        } else {
            handler(&call)
        };
        if !write_reply(stream, &call, &reply)? {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

fn read_call(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Call>> {
    let mut first = Vec::new();
    reader.read_until(b'\n', &mut first)?;
    // The client tries https first; that is no text.
    let Ok(first) = String::from_utf8(first) else {
        return Ok(None);
    };
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut call = Call {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        call.headers.insert(name, value.trim().to_owned());
    }
    let length = call.header("content-length").parse().unwrap_or(0);
    call.body.resize(length, 0);
    reader.read_exact(&mut call.body)?;
    Ok(Some(call))
}

/// Says whether the connection goes on.
fn write_reply(mut stream: &TcpStream, call: &Call, reply: &Reply) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "content-length")
    {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    if let Some(bytes) = reply.silent_after {
        let whole = [head.as_bytes(), &reply.body].concat();
        stream.write_all(&whole[..bytes])?;
        return wait_for_end(stream);
    }
    stream.write_all(head.as_bytes())?;
    if call.method == "HEAD" {
        return Ok(true);
    }
    let end = reply.cut_after.unwrap_or(reply.body.len());
    stream.write_all(&reply.body[..end])?;
    Ok(reply.cut_after.is_none())
}

fn wait_for_end(mut stream: &TcpStream) -> io::Result<bool> {
    io::copy(&mut stream, &mut io::sink())?;
    Ok(false)
}
