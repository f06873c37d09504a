//! Steps on networks of CNI plugins (rows CFG-09, FLG-13).

use std::path::Path;
use std::path::PathBuf;

use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use serde_json::json;

use crate::world::World;
use crate::world::expect_devices;
use crate::world::join;
use crate::world::own_address;
use crate::world::skip;
use crate::world::step;
use crate::world::wait;

/// Where distributions put the plugins.
const PLACES: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

fn plugins() -> Option<PathBuf> {
    let places = PLACES.iter().map(Path::new);
    let has = |place: &&Path| {
        ["bridge", "host-local"]
            .iter()
            .all(|name| place.join(name).exists())
    };
    match places.into_iter().find(has) {
        Some(place) => Some(place.to_owned()),
        None => skip("no CNI plugins"),
    }
}

/// A bridge without a way out: what is outside is another test's business.
fn options(world: &World, plugins: PathBuf) -> NetworkOptions {
    let mut options = world.options(Mode::Cni);
    options.cni.config = world.state.path().join("cni.conflist");
    options.cni.plugins = plugins;
    let ipam = json!({
        "type": "host-local",
        "dataDir": world.state.path().join("addresses"),
        "ranges": [[{ "subnet": "10.77.0.0/24" }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let bridge = json!({ "type": "bridge", "bridge": "br77", "isGateway": true, "ipam": ipam });
    let config = json!({ "cniVersion": "1.0.0", "name": "steps", "plugins": [bridge] });
    std::fs::write(&options.cni.config, config.to_string()).expect("written");
    options
}

/// The addresses that the plugin has noted as given.
fn given(world: &World) -> usize {
    let notes = world.state.path().join("addresses/steps");
    let entries = std::fs::read_dir(notes).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("10.77.")).count()
}

#[test]
fn plugins_wire_steps_and_take_them_down() {
    World::run(|world| {
        let Some(plugins) = plugins() else { return };
        let networks = Networks::start(options(world, plugins)).expect("starts");
        let steps = [join(&networks), join(&networks)];
        let addresses = steps
            .each_ref()
            .map(|one| step(one, own_address).to_string());
        assert!(
            addresses.iter().all(|one| one.starts_with("10.77.0.")),
            "{addresses:?}"
        );
        assert_ne!(addresses[0], addresses[1]);
        assert_eq!(given(world), 2);
        drop(steps);
        drop(networks);
        assert_eq!(given(world), 0);
        assert_eq!(
            world
                .state
                .path()
                .join("networks/cni")
                .read_dir()
                .expect("there")
                .count(),
            0
        );
        expect_devices(&["br77", "lo", "up0"]);
    });
}

/// What a process that is gone had not taken down is taken down by the next.
#[test]
fn addresses_of_a_killed_process_are_given_back() {
    World::run(|world| {
        let Some(plugins) = plugins() else { return };
        let options = options(world, plugins);
        let networks = Networks::start(options.clone()).expect("starts");
        let network = join(&networks);
        assert_eq!(given(world), 1);
        std::mem::forget((network, networks));
        let networks = Networks::start(options).expect("starts");
        assert_eq!(given(world), 0);
        drop(networks);
    });
}

/// What stands for all plugins of the tests. It is not written here: a program that another thread
/// still has open for writing cannot be started.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/plugin.sh");

/// Makes a plugin that notes its calls and does what `script` says.
fn plugin(world: &World, name: &str, script: &str) {
    let place = world.state.path().join(name);
    std::fs::write(place.with_extension("script"), script).expect("written");
    if !place.exists() {
        std::os::unix::fs::symlink(PLUGIN, place).expect("linked");
    }
}

fn scripted(world: &World) -> NetworkOptions {
    let mut options = world.options(Mode::Cni);
    options.cni.config = world.state.path().join("cni.json");
    options.cni.plugins = world.state.path().to_owned();
    let config =
        r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "a"}, {"type": "b"}]}"#;
    std::fs::write(&options.cni.config, config).expect("written");
    options
}

#[test]
fn plugins_are_called_in_order_with_the_result_before() {
    World::run(|world| {
        plugin(
            world,
            "a",
            r#"[ $CNI_COMMAND = ADD ] && echo '{"made": "a"}' || true"#,
        );
        plugin(
            world,
            "b",
            r#"[ $CNI_COMMAND = ADD ] && echo '{"made": "b"}' || true"#,
        );
        let networks = Networks::start(scripted(world)).expect("starts");
        std::fs::remove_file(world.state.path().join("calls")).expect("tried once");
        drop(wait(networks.join("builder")).expect("a network"));
        drop(networks);
        let calls = std::fs::read_to_string(world.state.path().join("calls")).expect("called");
        let calls: Vec<&str> = calls.lines().collect();
        let args = "K8S_POD_NAME=builder;IgnoreUnknown=1";
        let expected = [
            ("ADD", "a", ""),
            ("ADD", "b", r#","prevResult":{"made":"a"}"#),
            ("DEL", "b", r#","prevResult":{"made":"b"}"#),
            ("DEL", "a", r#","prevResult":{"made":"b"}"#),
        ];
        let expected = expected.map(|(command, plugin, previous)| {
            format!(
                r#"{command} eth0 [{args}] {plugin} {{"type":"{plugin}","name":"n","cniVersion":"1.0.0"{previous}}}"#
            )
        });
        assert_eq!(calls, expected);
    });
}

#[test]
fn errors_name_plugin_and_configuration() {
    World::run(|world| {
        let options = scripted(world);
        let config = options.cni.config.display().to_string();
        let told = |script: Option<&str>| {
            plugin(world, "a", "");
            if let Some(script) = script {
                plugin(world, "b", script);
            }
            let refused = Networks::start(options.clone()).err().expect("refused");
            refused.to_string()
        };
        let directory = world.state.path().display();
        assert_eq!(
            told(None),
            format!("cni plugin \"b\" of {config}: not found in {directory}")
        );
        let prefix = format!("cni plugin \"b\" of {config}: ADD failed:");
        assert_eq!(
            told(Some(
                r#"echo '{"code": 11, "msg": "no room", "details": "at all"}'; exit 1"#
            )),
            format!("{prefix} no room: at all")
        );
        assert_eq!(
            told(Some("echo broken >&2; exit 3")),
            format!("{prefix} exit status: 3: broken")
        );
        assert!(told(Some("echo '{'")).starts_with(&format!("{prefix} bad result: ")));
        // What the first plugin did was undone each time.
        let calls = std::fs::read_to_string(world.state.path().join("calls")).expect("called");
        let count = |start: &str| calls.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(count("ADD eth0 [] a"), count("DEL eth0 [] a"));
        std::fs::write(&options.cni.config, "{").expect("written");
        let refused = Networks::start(options.clone()).err().expect("refused");
        let message = refused.to_string();
        assert!(
            message.starts_with(&format!("cniConfigPath {config}: ")),
            "{message}"
        );
    });
}
