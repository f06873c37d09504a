//! The contents of /etc/hosts and /etc/resolv.conf in a step (rows EXC-06, EXC-07, EXC-36, EXC-37).

use std::net::IpAddr;
use std::path::Path;

use crate::DnsConfig;

/// The host name of a step that asks for none.
pub(crate) const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// The resolver configuration of the host.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps the servers that stand behind its own address.
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// The address of systemd-resolved, which answers on the host only.
const RESOLVED_ADDRESS: &str = "127.0.0.53";

/// Public servers for a step that cannot reach the host's own.
const PUBLIC_SERVERS: [&str; 4] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
];

/// Longest resolver configuration that is read.
const MAX_CONF_BYTES: usize = 1 << 20;

/// Writes /etc/hosts: the step's own names, then the extra ones in their order.
pub(crate) fn hosts(hostname: &str, extra: &[(String, IpAddr)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// How a step reaches name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// On the host's network, as the host.
    Local,
    /// From elsewhere: not those on loopback addresses, in whose place a `forwarder` may answer.
    Remote { forwarder: Option<IpAddr> },
}

/// Reads the host's resolver configuration, puts the wishes over it, and makes it fit a step.
///
/// Servers on loopback addresses answer only where the host's network is shared; elsewhere they are
/// dropped, and when none is left, the network's own stands in, or else public ones.
pub(crate) fn resolv_conf(dns: &DnsConfig, resolver: Resolver) -> String {
    let host = read(Path::new(RESOLV_CONF));
    if resolver != Resolver::Local && servers(&host) == [RESOLVED_ADDRESS] {
        // What systemd-resolved asks itself.
        return adapt(&overridden(&read(Path::new(RESOLVED_CONF)), dns), resolver);
    }
    adapt(&overridden(&host, dns), resolver)
}

/// Replaces each kind of line for which there is a wish.
fn overridden(text: &str, dns: &DnsConfig) -> String {
    let servers: Vec<String> = dns.nameservers.iter().map(IpAddr::to_string).collect();
    let servers = servers.iter().map(|one| format!("nameserver {one}"));
    let search = (!dns.search.is_empty()).then(|| format!("search {}", dns.search.join(" ")));
    let options = (!dns.options.is_empty()).then(|| format!("options {}", dns.options.join(" ")));
    let replaced = |line: &str| match line.split_whitespace().next() {
        Some("nameserver") => !dns.nameservers.is_empty(),
        Some("search" | "domain") => search.is_some(),
        Some("options") => options.is_some(),
        _ => false,
    };
    let kept = text.lines().filter(|line| !replaced(line));
    let kept = kept.map(str::to_owned).collect::<Vec<_>>();
    let wished = servers
        .chain(search.iter().cloned())
        .chain(options.iter().cloned());
    let mut lines: Vec<String> = wished.chain(kept).collect();
    lines.push(String::new());
    lines.join("\n")
}

fn read(path: &Path) -> String {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    bytes.truncate(MAX_CONF_BYTES);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn servers(text: &str) -> Vec<&str> {
    text.lines().filter_map(server).collect()
}

/// Returns the address of a `nameserver` line.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver"))
        .then(|| words.next())
        .flatten()
}

fn adapt(text: &str, resolver: Resolver) -> String {
    let usable = |address: &&str| resolver == Resolver::Local || !is_loopback(address);
    let kept = servers(text).into_iter().filter(usable);
    let mut kept: Vec<String> = kept.map(str::to_owned).collect();
    match resolver {
        _ if !kept.is_empty() => {}
        Resolver::Remote {
            forwarder: Some(forwarder),
        } => kept.push(forwarder.to_string()),
        _ => kept.extend(PUBLIC_SERVERS.map(str::to_owned)),
    }
    let mut adapted = String::new();
    for address in kept {
        adapted.push_str(&format!("nameserver {address}\n"));
    }
    for line in text.lines().map(str::trim) {
        let comment = line.is_empty() || line.starts_with(['#', ';']);
        if !comment && server(line).is_none() {
            adapted.push_str(line);
            adapted.push('\n');
        }
    }
    adapted
}

/// Says whether an address, possibly with a zone (`fe80::1%eth0`), is of the loopback network.
fn is_loopback(address: &str) -> bool {
    let bare = address.split('%').next().unwrap_or(address);
    bare.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lists_the_step_and_the_extra_names() {
        let extra = [("db".to_owned(), IpAddr::from([10, 0, 0, 1]))];
        assert_eq!(
            hosts(DEFAULT_HOSTNAME, &extra),
            "127.0.0.1\tlocalhost buildkitsandbox\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             10.0.0.1\tdb\n"
        );
    }

    #[test]
    fn wishes_replace_the_lines_of_their_kind() {
        let host =
            "nameserver 1.1.1.1\ndomain old\nsearch a b\noptions ndots:1\nsortlist 1.0.0.0\n";
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        for (name, nameservers, search, options, expected) in [
            ("none", &[][..], &[][..], &[][..], host),
            (
                "servers",
                &[IpAddr::from([192, 0, 2, 1]), IpAddr::from([0; 16])],
                &[],
                &[],
                "nameserver 192.0.2.1\nnameserver ::\n\
                 domain old\nsearch a b\noptions ndots:1\nsortlist 1.0.0.0\n",
            ),
            (
                "domains and options",
                &[],
                &["c", "d"],
                &["edns0", "rotate"],
                "search c d\noptions edns0 rotate\nnameserver 1.1.1.1\nsortlist 1.0.0.0\n",
            ),
        ] {
            let dns = DnsConfig {
                nameservers: nameservers.to_vec(),
                search: words(search),
                options: words(options),
            };
            assert_eq!(overridden(host, &dns), expected, "{name}");
        }
    }

    #[test]
    fn loopback_servers_are_kept_only_on_the_host_network() {
        let public = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n\
                      nameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n";
        let local = "# made by hand\nnameserver 127.0.0.1\nsearch a b\noptions ndots:1\n";
        let remote = Resolver::Remote { forwarder: None };
        let forwarded = Resolver::Remote {
            forwarder: Some(IpAddr::from([169, 254, 1, 1])),
        };
        for (name, text, resolver, expected) in [
            (
                "plain",
                "nameserver 1.1.1.1\n",
                remote,
                "nameserver 1.1.1.1\n".to_owned(),
            ),
            (
                "loopback on the host network",
                local,
                Resolver::Local,
                "nameserver 127.0.0.1\nsearch a b\noptions ndots:1\n".to_owned(),
            ),
            (
                "loopback elsewhere",
                local,
                remote,
                format!("{public}search a b\noptions ndots:1\n"),
            ),
            (
                "one of two",
                "nameserver ::1\nnameserver 9.9.9.9\n",
                remote,
                "nameserver 9.9.9.9\n".to_owned(),
            ),
            ("nothing", "", Resolver::Local, public.to_owned()),
            (
                "loopback behind a forwarder",
                local,
                forwarded,
                "nameserver 169.254.1.1\nsearch a b\noptions ndots:1\n".to_owned(),
            ),
            (
                "another behind a forwarder",
                "nameserver 1.1.1.1\n",
                forwarded,
                "nameserver 1.1.1.1\n".to_owned(),
            ),
        ] {
            assert_eq!(adapt(text, resolver), expected, "{name}");
        }
    }
}
