//! The network of steps (rows CFG-04, CFG-09, FLG-12, FLG-13).

use std::net::IpAddr;

use lamina_executor::DnsConfig;
use lamina_network::CniOptions;
use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Subnet;

use super::SettingsError;
use crate::config;
use crate::places;

/// Reads what steps are to know of name servers.
pub(super) fn dns(file: config::Dns) -> Result<DnsConfig, SettingsError> {
    let address = |text: &String| {
        let parsed = text.parse::<IpAddr>();
        parsed.map_err(|_| SettingsError::Nameserver(text.clone()))
    };
    Ok(DnsConfig {
        nameservers: file
            .nameservers
            .iter()
            .map(address)
            .collect::<Result<_, _>>()?,
        options: file.options,
        search: file.search_domains,
    })
}

/// What flags and file ask for; the rest stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkWishes {
    mode: Mode,
    cni: CniOptions,
    pool_size: Option<usize>,
    bridge_name: Option<String>,
    bridge_subnet: Option<Subnet>,
}

impl NetworkWishes {
    pub(super) fn read(wishes: config::Network) -> Result<Self, SettingsError> {
        let usual = CniOptions::default();
        let subnet = wishes.bridge_subnet.as_deref().map(str::parse);
        Ok(Self {
            mode: wishes.mode.unwrap_or_default().parse()?,
            cni: CniOptions {
                config: wishes.cni_config.unwrap_or_else(places::default_cni_config),
                plugins: wishes.cni_plugins.unwrap_or(usual.plugins),
            },
            // BuildKit's zero is its default.
            pool_size: wishes.pool_size.filter(|size| *size > 0),
            bridge_name: wishes.bridge_name,
            bridge_subnet: subnet.transpose()?,
        })
    }

    /// Puts the wishes into the options of an engine.
    pub(crate) fn put(self, options: &mut NetworkOptions) {
        options.mode = self.mode;
        options.cni = self.cni;
        options.pool_size = self.pool_size;
        options.bridge_name = self.bridge_name;
        options.bridge_subnet = self.bridge_subnet;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_have_addresses() {
        let file = |server: &str| config::Dns {
            nameservers: vec![server.to_owned()],
            options: vec!["ndots:1".to_owned()],
            search_domains: vec!["example.org".to_owned()],
        };
        let read = dns(file("2001:db8::1")).expect("valid");
        let address = "2001:db8::1".parse::<IpAddr>().expect("an address");
        assert_eq!(read.nameservers, [address]);
        assert_eq!(read.options, ["ndots:1"]);
        assert_eq!(read.search, ["example.org"]);
        for bad in [
            "",
            "dns.example",
            "192.0.2.1:53",
            "1.2.3.4\nnameserver 5.6.7.8",
        ] {
            let message = dns(file(bad)).expect_err(bad).to_string();
            assert!(message.starts_with("bad nameserver address"), "{message}");
        }
    }

    #[test]
    fn networks_are_read_or_refused() {
        for (mode, subnet, expected) in [
            (None, None, Ok(Mode::Auto)),
            (Some(""), None, Ok(Mode::Auto)),
            (Some("auto"), None, Ok(Mode::Auto)),
            (Some("host"), None, Ok(Mode::Host)),
            (Some("cni"), None, Ok(Mode::Cni)),
            (Some("bridge"), Some("10.9.0.0/16"), Ok(Mode::Bridge)),
            (Some("none"), None, Err("invalid network mode: \"none\"")),
            (Some("Host"), None, Err("invalid network mode: \"Host\"")),
            (
                Some("bridge"),
                Some("10.9.0.0"),
                Err("bridgeSubnet: \"10.9.0.0\" is no IPv4 network: expected ADDRESS/BITS"),
            ),
        ] {
            let read = NetworkWishes::read(config::Network {
                mode: mode.map(str::to_owned),
                bridge_subnet: subnet.map(str::to_owned),
                ..config::Network::default()
            });
            let read = read.map_err(|error| error.to_string());
            let mode = read.map(|wishes| wishes.mode);
            assert_eq!(mode, expected.map_err(str::to_owned), "{mode:?}");
        }
    }

    #[test]
    fn all_wishes_reach_the_engine() {
        let wishes = NetworkWishes::read(config::Network {
            mode: Some("bridge".to_owned()),
            cni_config: Some("/c".into()),
            cni_plugins: Some("/p".into()),
            pool_size: Some(3),
            bridge_name: Some("br0".to_owned()),
            bridge_subnet: Some("10.9.0.0/16".to_owned()),
        });
        let mut options = NetworkOptions::default();
        wishes.expect("valid").put(&mut options);
        let expected = NetworkOptions {
            mode: Mode::Bridge,
            cni: CniOptions {
                config: "/c".into(),
                plugins: "/p".into(),
            },
            pool_size: Some(3),
            bridge_name: Some("br0".to_owned()),
            bridge_subnet: Some("10.9.0.0/16".parse().expect("a network")),
            ..NetworkOptions::default()
        };
        assert_eq!(options, expected);
    }
}
