//! HTTP clients, one for each way to connect.
//!
//! Hosts with settings of their own have a client of their own; loopback hosts share one that never
//! uses a proxy, all others another.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::Client;
use reqwest::ClientBuilder;
use reqwest::Identity;

use crate::HostConfig;
use crate::RegistryConfig;
use crate::RegistryError;
use crate::endpoint;
use crate::report;

/// A host that does not answer within this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before common load balancers do it under our hands.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients, made when first needed: loading the system's certificates takes a while.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<ClientKind, Client>>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum ClientKind {
    General,
    /// Never through a proxy.
    Loopback,
    /// With settings of its own.
    Host(String),
}

impl Clients {
    /// Returns the client for `host`, as it stands in references.
    ///
    /// # Errors
    /// [`RegistryError::Config`] if the host's certificates or keys cannot be used.
    pub(crate) fn get(&self, host: &str, config: &RegistryConfig) -> Result<Client, RegistryError> {
        let settings = config.hosts.get(host);
        let kind = ClientKind::of(host, settings);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let built = build(&kind, host, settings);
        let client = built.map_err(|reason| RegistryError::Config {
            host: host.to_owned(),
            reason,
        })?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

impl ClientKind {
    fn of(host: &str, settings: Option<&HostConfig>) -> Self {
        match settings {
            Some(_) => Self::Host(host.to_owned()),
            None if endpoint::is_loopback(host) => Self::Loopback,
            None => Self::General,
        }
    }
}

fn build(kind: &ClientKind, host: &str, settings: Option<&HostConfig>) -> Result<Client, String> {
    let local = *kind == ClientKind::Loopback || endpoint::is_loopback(host);
    let assemble = |trust: fn(ClientBuilder) -> ClientBuilder| {
        let mut builder = Client::builder()
            .user_agent(concat!("lamina/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if local {
            builder = builder.no_proxy();
        }
        if let Some(settings) = settings {
            builder = apply(builder, settings)?;
        }
        let built = trust(builder).build();
        built.map_err(|error| report::reason(&error))
    };
    match assemble(|builder| builder) {
        // Plain http must work where no certificates are installed.
        Err(_) if local || settings.is_some_and(|settings| settings.http) => {
            assemble(|builder| builder.tls_certs_only([]))
        }
        built => built,
    }
}

fn apply(mut builder: ClientBuilder, settings: &HostConfig) -> Result<ClientBuilder, String> {
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    for path in &settings.ca {
        let found = Certificate::from_pem_bundle(&read(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        builder = builder.tls_certs_merge(found);
    }
    if let Some(pair) = &settings.key_pair {
        let mut pem = read(&pair.certificate)?;
        pem.push(b'\n');
        pem.extend(read(&pair.key)?);
        let identity = Identity::from_pem(&pem)
            .map_err(|error| format!("{}: {error}", pair.certificate.display()))?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(settings.insecure))
}
