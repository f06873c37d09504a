//! A host with a namespace of its own and something outside to talk to.

use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use lamina_network::Mode;
use lamina_network::NetworkError;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use lamina_network::StepNetwork;
use nix::sched::CloneFlags;

/// What is outside.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host, as seen from there.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long to try what is to fail.
const SHORT: Duration = Duration::from_millis(300);

pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
    {
        println!("skipped: {reason}");
    }
    None
}

/// The host, in which the test's thread is, and the outside.
pub(crate) struct World {
    outside: OwnedFd,
    pub(crate) state: tempfile::TempDir,
}

impl World {
    /// Runs `test` on a thread whose namespace is the host's.
    pub(crate) fn run(test: impl FnOnce(&Self) + Send + 'static) {
        let work = || {
            if let Some(world) = Self::new() {
                test(&world);
            }
        };
        thread::spawn(work).join().expect("the test passes");
    }

    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return skip("not root");
        }
        if let Err(error) = nix::sched::unshare(CloneFlags::CLONE_NEWNET) {
            return skip(&format!("no namespaces: {error}"));
        }
        if let Some(lack) = lack() {
            return skip(&lack);
        }
        let outside = thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            current()
        });
        let world = Self {
            outside: outside.join().expect("no panic"),
            state: tempfile::tempdir().expect("a directory"),
        };
        world.connect();
        Some(world)
    }

    fn connect(&self) {
        let there = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.outside.as_raw_fd()
        );
        // New namespaces begin with the machine's setting.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("no router");
        ip("link set lo up");
        ip(&format!(
            "link add up0 type veth peer name up1 netns {there}"
        ));
        ip(&format!("address add {HOST}/24 dev up0"));
        ip("link set up0 up");
        self.outside(|| {
            ip("link set lo up");
            ip(&format!("address add {OUTSIDE}/24 dev up1"));
            ip("link set up1 up");
        });
        ip(&format!("route add default via {OUTSIDE}"));
    }

    /// Does something outside.
    pub(crate) fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.outside.as_fd(), work)
    }

    /// Options of a bridge with a state directory.
    pub(crate) fn options(&self, mode: Mode) -> NetworkOptions {
        NetworkOptions {
            mode,
            state_dir: self.state.path().join("networks"),
            ..NetworkOptions::default()
        }
    }

    /// Starts a bridge, or says why that is impossible here.
    pub(crate) fn bridge(&self) -> Option<Networks> {
        start(self.options(Mode::Bridge))
    }
}

/// Says what of the kernel or of programs is missing.
fn lack() -> Option<String> {
    let tried = [
        "link add lamina-try type bridge",
        "link delete lamina-try",
        "link add lamina-try type veth peer name lamina-peer",
        "link delete lamina-try",
    ];
    tried.into_iter().find_map(|arguments| {
        let output = Command::new("ip").args(arguments.split(' ')).output();
        match output {
            Err(error) => Some(format!("no program ip: {error}")),
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    })
}

/// Starts networks, or says which part of the kernel is missing.
pub(crate) fn start(options: NetworkOptions) -> Option<Networks> {
    match Networks::start(options) {
        Ok(networks) => Some(networks),
        Err(NetworkError::System { doing, source })
            if doing.starts_with("filter packets")
                && source.kind() != std::io::ErrorKind::PermissionDenied =>
        {
            skip(&format!("{doing}: {source}"))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs `ip` in the namespace of this thread and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("ip runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the names of the devices in the namespace of this thread, without those that the kernel
/// makes in every one.
pub(crate) fn devices() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("devices");
    let names = text
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next());
    let own = ["lo", "up", "eth", "buildkit", "lamina", "br", "tap", "veth"];
    let known = names
        .map(str::trim)
        .filter(|name| own.iter().any(|own| name.starts_with(own)));
    let mut known: Vec<String> = known.map(str::to_owned).collect();
    known.sort();
    known
}

/// Waits until the devices are `expected`: the kernel removes them when it has time.
pub(crate) fn expect_devices(expected: &[&str]) {
    let mut seen = Vec::new();
    for _ in 0..500 {
        seen = devices();
        if seen == expected {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{seen:?}, not {expected:?}");
}

/// The namespace of this thread.
pub(crate) fn current() -> OwnedFd {
    let file = std::fs::File::open("/proc/thread-self/ns/net");
    file.expect("a namespace").into()
}

/// Does something in another namespace.
pub(crate) fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = move || {
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("entered");
            work()
        };
        scope.spawn(work).join().expect("no panic")
    })
}

/// Does something as a step.
pub(crate) fn step<T: Send>(network: &StepNetwork, work: impl FnOnce() -> T + Send) -> T {
    inside(network.namespace().expect("a namespace of its own"), work)
}

/// Waits for something on a runtime of this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("tokio starts").block_on(future)
}

pub(crate) fn join(networks: &Networks) -> StepNetwork {
    wait(networks.join("")).expect("a network")
}

/// Listens on any port of all addresses.
pub(crate) fn listen() -> (TcpListener, u16) {
    listen_on(Ipv4Addr::UNSPECIFIED.into())
}

/// Listens on any port of `address`.
pub(crate) fn listen_on(address: IpAddr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((address, 0)).expect("listens");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// Checks that the host reaches a step, and nobody else does: not from outside, where `route` leads to
/// the steps, and not from another step.
pub(crate) fn expect_nobody_reaches_a_step(
    (world, networks): (&World, &Networks),
    (own_address, unspecified): (fn() -> IpAddr, IpAddr),
    route: &str,
) {
    let (one, other) = (join(networks), join(networks));
    let address = step(&one, own_address);
    let (listener, port) = step(&one, || listen_on(unspecified));
    world.outside(|| ip(route));
    assert!(
        world.outside(|| is_unreachable(address, port)),
        "from outside"
    );
    assert!(
        step(&other, || is_unreachable(address, port)),
        "from another step"
    );
    greet(address, port).expect("from the host");
    listener.accept().expect("the host's");
}

/// Connects and says so to the other side.
pub(crate) fn greet(address: IpAddr, port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), SHORT * 10)?;
    stream.write_all(b"hello")
}

/// Says whether nothing answers.
pub(crate) fn is_unreachable(address: IpAddr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(address, port), SHORT).is_err()
}

/// The address that this thread's namespace has towards the outside.
pub(crate) fn own_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.connect((OUTSIDE, 9)).expect("a route");
    socket.local_addr().expect("an address").ip()
}

pub(crate) fn forwards(device: &str) -> bool {
    let path = format!("/proc/sys/net/ipv4/conf/{device}/forwarding");
    std::fs::read_to_string(path).expect("a setting").trim() == "1"
}

/// The call of one test of this program alone, in the namespace of this thread.
pub(crate) fn child(wrapper: &[&str], test: &str) -> Command {
    let program = std::env::current_exe().expect("this program");
    let program = program.display().to_string();
    let words = [program.as_str(), "--exact", test, "--nocapture"];
    let words: Vec<&str> = wrapper.iter().chain(&words).copied().collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("LAMINA_NETWORK_CHILD", "1");
    command
}

/// Says whether this is the test that [`child`] called.
pub(crate) fn is_child() -> bool {
    std::env::var_os("LAMINA_NETWORK_CHILD").is_some()
}
