//! The network of steps (rows CFG-04, CFG-09, FLG-12).
//!
//! Steps have the host's network or none; there are no networks of a daemon's own.

use std::net::IpAddr;

use lamina_executor::DnsConfig;

use super::SettingsError;
use crate::config;

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

/// Takes what BuildKit takes. Modes that there are not here mean the one that works, with a
/// warning, so that a daemon that replaces another starts.
pub(super) fn check_mode(mode: Option<&str>, notes: &mut Vec<String>) -> Result<(), SettingsError> {
    match mode {
        None | Some("" | "auto" | "host") => Ok(()),
        Some(mode @ ("cni" | "bridge")) => {
            notes.push(format!(
                "there is no network mode {mode:?} here; steps use the network of the host"
            ));
            Ok(())
        }
        Some(other) => Err(SettingsError::NetworkMode(other.to_owned())),
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
    fn network_modes_are_buildkits() {
        for (mode, told, taken) in [
            (None, 0, true),
            (Some(""), 0, true),
            (Some("auto"), 0, true),
            (Some("host"), 0, true),
            (Some("cni"), 1, true),
            (Some("bridge"), 1, true),
            (Some("none"), 0, false),
            (Some("Host"), 0, false),
        ] {
            let mut notes = Vec::new();
            let result = check_mode(mode, &mut notes);
            assert_eq!(result.is_ok(), taken, "{mode:?}");
            assert_eq!(notes.len(), told, "{mode:?}: {notes:?}");
        }
    }
}
