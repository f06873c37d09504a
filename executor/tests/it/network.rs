//! Steps on the networks that their executor has (rows EXC-29 to EXC-31, EXC-36, EXC-37).

use std::io::ErrorKind;
use std::path::Path;

use lamina_executor::ExitStatus;
use lamina_executor::NetworkMode;
use lamina_executor::RuntimeKind;
use lamina_network::Mode;
use lamina_network::NetworkError;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use lamina_snapshotter::Backend;
use lamina_snapshotter::XattrNamespace;
use nix::sched::CloneFlags;

use crate::PROGRAM;
use crate::common::World;
use crate::skip;
use crate::status;

/// Runs `test` where there is a bridge, on a thread that has a network namespace of its own.
fn on_bridge(runtime: RuntimeKind, test: impl AsyncFnOnce(World) + Send + 'static) {
    let work = || {
        let state = crate::state_dir();
        let Some(world) = world(state.path(), runtime) else {
            return;
        };
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        tokio.expect("tokio starts").block_on(async {
            let executor = world.executor.clone();
            test(world).await;
            executor.settled().await;
        });
    };
    std::thread::spawn(work).join().expect("the test passes");
}

fn world(state: &Path, runtime: RuntimeKind) -> Option<World> {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root");
    }
    if let Some(reason) = crate::obstacle() {
        return skip(reason);
    }
    if let Err(error) = nix::sched::unshare(CloneFlags::CLONE_NEWNET) {
        return skip(&format!("no namespaces: {error}"));
    }
    let networks = Networks::start(NetworkOptions {
        mode: Mode::Bridge,
        state_dir: state.join("networks"),
        ..NetworkOptions::default()
    });
    let networks = match networks {
        Ok(networks) => networks,
        Err(error) if is_lack(&error) => return skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let (program, how) = (Path::new(PROGRAM), (runtime, XattrNamespace::Trusted));
    match World::with_networks(Backend::Overlay, state, program, how, networks) {
        Ok(world) => Some(world),
        Err(lack) => skip(&lack.to_string()),
    }
}

/// Says whether the kernel has no bridges, no wires or no packet filters.
fn is_lack(error: &NetworkError) -> bool {
    match error {
        NetworkError::System { doing, source } => {
            source.kind() == ErrorKind::Unsupported || doing.starts_with("filter packets")
        }
        _ => false,
    }
}

/// What is seen of the network: interfaces, the default route, and whether name servers are on
/// loopback addresses.
const SCRIPT: &str = "for device in lo eth0 buildkit0; do test -e /sys/class/net/$device && echo \
                      $device; done; ip route | grep -o 'default via 10.10.0.1'; grep -qE \
                      '^nameserver (127|::1)' /etc/resolv.conf && echo local";

async fn sees(world: &World, network: NetworkMode) -> String {
    let mut spec = world.shell(SCRIPT);
    spec.network = network;
    let (finished, stdout, stderr) = world.run(spec).await;
    assert!(matches!(status(finished), ExitStatus::Code(_)), "{stderr}");
    stdout.replace("local\n", "")
}

#[test]
fn each_mode_sees_its_own_network() {
    on_bridge(RuntimeKind::Builtin, async |world| {
        for (network, expected) in [
            (NetworkMode::Sandbox, "lo\neth0\ndefault via 10.10.0.1\n"),
            (NetworkMode::Host, "lo\nbuildkit0\n"),
            (NetworkMode::None, "lo\n"),
        ] {
            assert_eq!(sees(&world, network).await, expected, "{network:?}");
        }
    });
}

#[test]
fn loopback_name_servers_are_of_no_use_on_a_bridge() {
    on_bridge(RuntimeKind::Builtin, async |world| {
        let script = "grep -E '^nameserver (127|::1)' /etc/resolv.conf; grep -c ^nameserver \
                      /etc/resolv.conf; ping -c1 -w2 localhost > /dev/null && echo localhost";
        let (finished, stdout, stderr) = world.run(world.shell(script)).await;
        assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert!(
            matches!(lines[..], [count, "localhost"] if count != "0"),
            "{stdout}"
        );
    });
}

#[test]
fn an_oci_runtime_stays_in_the_given_network() {
    let Some(runtime) = ["crun", "runc"].into_iter().find(|name| {
        let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
        places
            .iter()
            .any(|place| Path::new(place).join(name).exists())
    }) else {
        return skip("no OCI runtime").unwrap_or_default();
    };
    on_bridge(RuntimeKind::Oci(runtime.into()), async |world| {
        let seen = sees(&world, NetworkMode::Sandbox).await;
        assert_eq!(seen, "lo\neth0\ndefault via 10.10.0.1\n");
    });
}
