//! `EXPOSE` (row DFI-36).

use std::net::IpAddr;

use crate::convert::Converter;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::lint::Rule;

impl Converter<'_> {
    /// Expands the words, cuts them again, and adds the ports.
    pub(super) fn dispatch_expose(
        &mut self,
        id: StageId,
        words: &[String],
        lines: Lines,
        linter: &Linter,
    ) -> Result<()> {
        let mut ports = Vec::new();
        for word in words {
            for port in self.lexer.words(word, &self.stages[id].state.env)? {
                ports.extend(expand_port(&port, lines, linter)?);
            }
        }
        self.history(id, format!("EXPOSE [{}]", ports.join(" ")), false);
        let exposed = &mut self.stages[id].image.config.exposed_ports;
        exposed.extend(ports);
        Ok(())
    }
}

/// Reads `[ip:][host-port:]port[-port][/protocol]` and returns `port/protocol` for each port.
///
/// Address and host port have no meaning in an image; they are checked, reported and dropped.
fn expand_port(
    text: &str,
    lines: Lines,
    linter: &Linter,
) -> std::result::Result<Vec<String>, FrontendError> {
    let (address, host, container) = split(text);
    let (range, protocol) = split_protocol(container, text)?;
    if protocol != protocol.to_lowercase() {
        linter.report(Rule::ExposeProtoCasing { port: text }, lines);
    }
    if !address.is_empty() || !host.is_empty() {
        linter.report(Rule::ExposeInvalidFormat { port: text }, lines);
    }
    check_address(address)?;
    let port = range.to_owned();
    let (first, last) = port_range(range).ok_or(FrontendError::ContainerPort { port })?;
    check_host_port(host, range, last - first)?;
    let protocol = protocol.to_lowercase();
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn split(text: &str) -> (&str, &str, &str) {
    let (front, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
    (address, host, container)
}

fn split_protocol<'a>(
    container: &'a str,
    text: &str,
) -> std::result::Result<(&'a str, &'a str), FrontendError> {
    let wrong = |reason: String| FrontendError::Port {
        port: text.to_owned(),
        reason,
    };
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(wrong("no port specified".to_owned()));
    }
    match protocol.to_lowercase().as_str() {
        "" => Ok((range, "tcp")),
        "tcp" | "udp" | "sctp" => Ok((range, protocol)),
        _ => Err(wrong(format!("invalid proto: {protocol}"))),
    }
}

fn check_address(address: &str) -> std::result::Result<(), FrontendError> {
    let inner = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let plain = inner.unwrap_or(address);
    if address.is_empty() || plain.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(FrontendError::Address {
        address: plain.to_owned(),
    })
}

fn check_host_port(
    host: &str,
    container: &str,
    span: u32,
) -> std::result::Result<(), FrontendError> {
    if host.is_empty() {
        return Ok(());
    }
    let port = host.to_owned();
    let (first, last) = port_range(host).ok_or(FrontendError::HostPort { port })?;
    if last - first == span || span == 0 {
        return Ok(());
    }
    Err(FrontendError::PortRanges {
        container: container.to_owned(),
        host: host.to_owned(),
    })
}

fn port_range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port_number(first)?, port_number(last)?);
    (first <= last).then_some((first, last))
}

fn port_number(text: &str) -> Option<u32> {
    text.parse::<u16>().ok().map(u32::from)
}
