//! Where a registry's interface is: the registry itself and its mirrors.

use std::time::Duration;

use reqwest::Url;

use crate::HostConfig;
use crate::ImageReference;
use crate::RegistryConfig;
use crate::RegistryError;

/// What Docker Hub is called in references, and where it really is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_WIRE: &str = "registry-1.docker.io";

/// Which protocol an endpoint speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Https,
    Http,
    /// Not known beforehand: https is tried first.
    Either,
}

/// One place to ask for an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    /// Name on the wire, with the port; also the name for credentials.
    pub(crate) host: String,
    pub(crate) protocol: Protocol,
    /// Path before the repository, without slashes at its ends; empty for most.
    pub(crate) prefix: String,
    /// For a mirror: the registry that it stands in for.
    pub(crate) mirror_of: Option<String>,
    /// How long it may say nothing.
    pub(crate) patience: Duration,
}

impl Endpoint {
    /// Returns the endpoint for writing: the registry itself.
    pub(crate) fn origin(config: &RegistryConfig, reference: &ImageReference) -> Self {
        let host = if reference.host == DOCKER_HUB {
            DOCKER_HUB_WIRE
        } else {
            &reference.host
        };
        Self {
            host: host.to_owned(),
            protocol: protocol(host, config.hosts.get(&reference.host)),
            prefix: String::new(),
            mirror_of: None,
            patience: config.patience.registry,
        }
    }

    /// Returns the endpoints for reading, in the order in which they are to be tried.
    pub(crate) fn all(config: &RegistryConfig, reference: &ImageReference) -> Vec<Self> {
        let settings = config.hosts.get(&reference.host);
        let mirrors = settings.map_or(&[][..], |settings| &settings.mirrors);
        mirrors
            .iter()
            .map(|mirror| Self::mirror(config, mirror, &reference.host))
            .chain([Self::origin(config, reference)])
            .collect()
    }

    fn mirror(config: &RegistryConfig, text: &str, mirror_of: &str) -> Self {
        let (forced, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Protocol::Http), rest),
            Some((_, rest)) => (Some(Protocol::Https), rest),
            None => (None, text),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let host = if host == DOCKER_HUB {
            DOCKER_HUB_WIRE
        } else {
            host
        };
        Self {
            host: host.to_owned(),
            protocol: forced.unwrap_or_else(|| protocol(host, config.hosts.get(host))),
            prefix: prefix.trim_matches('/').to_owned(),
            mirror_of: Some(mirror_of.to_owned()),
            patience: config.patience.mirror,
        }
    }

    /// Returns the URL of `path` in the repository of `reference`.
    pub(crate) fn url(
        &self,
        scheme: &str,
        reference: &ImageReference,
        path: &str,
    ) -> Result<Url, RegistryError> {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        let mut url = self.parse(&format!(
            "{scheme}://{}/v2/{}{separator}{}/{path}",
            self.host, self.prefix, reference.repository
        ))?;
        if let Some(registry) = &self.mirror_of {
            // Mirrors of several registries tell them apart by this.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// Returns the URL that every registry answers.
    pub(crate) fn base_url(&self, scheme: &str) -> Result<Url, RegistryError> {
        self.parse(&format!("{scheme}://{}/v2/", self.host))
    }

    fn parse(&self, text: &str) -> Result<Url, RegistryError> {
        Url::parse(text).map_err(|error| RegistryError::Config {
            host: self.host.clone(),
            reason: format!("{text:?}: {error}"),
        })
    }
}

fn protocol(host: &str, settings: Option<&HostConfig>) -> Protocol {
    match settings {
        Some(settings) if settings.http => Protocol::Http,
        Some(settings) if settings.insecure => Protocol::Either,
        _ if is_loopback(host) => Protocol::Either,
        _ => Protocol::Https,
    }
}

/// Says whether `host`, with or without a port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RegistryConfig {
        let mirrors = ["m.test", "http://plain.test:81/a/b/", "docker.io/cache"];
        let hub = HostConfig {
            mirrors: mirrors.map(str::to_owned).to_vec(),
            ..HostConfig::default()
        };
        let plain = HostConfig {
            http: true,
            ..HostConfig::default()
        };
        let insecure = HostConfig {
            insecure: true,
            ..HostConfig::default()
        };
        RegistryConfig {
            hosts: [
                ("docker.io".to_owned(), hub),
                ("plain.test".to_owned(), plain),
                ("insecure.test".to_owned(), insecure),
            ]
            .into(),
            ..RegistryConfig::default()
        }
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let reference = "a:1".parse().expect("fits");
        let urls: Vec<String> = Endpoint::all(&config(), &reference)
            .iter()
            .map(|e| {
                e.url("s", &reference, "tags/list")
                    .expect("fits")
                    .to_string()
            })
            .collect();
        assert_eq!(
            urls,
            [
                "s://m.test/v2/library/a/tags/list?ns=docker.io",
                "s://plain.test:81/v2/a/b/library/a/tags/list?ns=docker.io",
                "s://registry-1.docker.io/v2/cache/library/a/tags/list?ns=docker.io",
                "s://registry-1.docker.io/v2/library/a/tags/list",
            ]
        );
    }

    #[test]
    fn protocols_follow_settings_and_host() {
        for (reference, protocol) in [
            ("a", Protocol::Https),
            ("other.test/a", Protocol::Https),
            ("plain.test/a", Protocol::Http),
            ("insecure.test/a", Protocol::Either),
            ("localhost/a", Protocol::Either),
            ("localhost:5000/a", Protocol::Either),
            ("127.1.2.3:5000/a", Protocol::Either),
            ("[::1]:5000/a", Protocol::Either),
            ("[::2]:5000/a", Protocol::Https),
            ("localhost.test/a", Protocol::Https),
            ("128.0.0.1/a", Protocol::Https),
        ] {
            let parsed = reference.parse().expect(reference);
            let endpoint = Endpoint::origin(&config(), &parsed);
            assert_eq!(endpoint.protocol, protocol, "{reference}");
        }
    }
}
