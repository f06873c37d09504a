//! `lamina run`: a container on a stage of a Dockerfile.
//!
//! The stage is built as `lamina build` builds it. Then a container is made of the result, with what
//! the image says about its processes, and the program gets the streams of this command. The
//! command ends with the program's code; nothing that the program writes is kept.

mod image;
mod mounts;

use lamina_client::ClientError;
use lamina_client::Container;
use lamina_client::Gateway;
use lamina_proto::gateway;
use lamina_proto::gateway::result::Result as Trees;
use lamina_proto::pb;

use crate::args::ContainerArgs;
use crate::args::Network;
use crate::args::Security;
use crate::error::CliError;
use crate::interactive;
use image::Image;
pub(crate) use mounts::MountError;
use mounts::WantedMount;

/// A program and the container for it.
#[derive(Debug)]
pub(crate) struct Run {
    command: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
    workdir: Option<String>,
    mounts: Vec<WantedMount>,
    hosts: Vec<pb::HostIp>,
    hostname: String,
    network: pb::NetMode,
    security: pb::SecurityMode,
    tty: bool,
}

/// What the command ends with if a program was killed by something unknown.
const UNKNOWN: u8 = 255;

impl Run {
    /// Reads the options.
    ///
    /// # Errors
    /// If one makes no sense.
    pub(crate) fn parse(args: &ContainerArgs, command: Vec<String>) -> Result<Self, CliError> {
        let mounts = args.mount.iter().map(|text| WantedMount::parse(text));
        let hosts = args.add_host.iter().map(|text| host(text));
        Ok(Self {
            command,
            env: args.env.iter().filter_map(|text| variable(text)).collect(),
            user: args.user.clone(),
            workdir: args.workdir.clone(),
            mounts: mounts.collect::<Result<_, _>>()?,
            hosts: hosts.collect::<Result<_, _>>()?,
            hostname: args.hostname.clone().unwrap_or_default(),
            network: match args.network {
                Network::Default => pb::NetMode::Unset,
                Network::None => pb::NetMode::None,
                Network::Host => pb::NetMode::Host,
            },
            security: match args.security {
                Security::Sandbox => pb::SecurityMode::Sandbox,
                Security::Insecure => pb::SecurityMode::Insecure,
            },
            tty: args.tty || (!args.no_tty && interactive::has_terminal()),
        })
    }

    /// Runs the program on what the solve `stage` makes; returns the code to end with.
    ///
    /// # Errors
    /// If the container cannot be made or the program not be started.
    pub(crate) async fn on(
        &self,
        gateway: &Gateway,
        stage: &gateway::SolveRequest,
        built: &gateway::Result,
    ) -> Result<u8, ClientError> {
        let image = Image::of(built);
        let mut mounts = vec![root(built)];
        for wanted in &self.mounts {
            mounts.push(wanted.resolve(gateway, stage).await?);
        }
        let container = gateway
            .new_container(gateway::NewContainerRequest {
                mounts,
                network: self.network.into(),
                extra_hosts: self.hosts.clone(),
                hostname: self.hostname.clone(),
                ..gateway::NewContainerRequest::default()
            })
            .await?;
        let code = self.in_container(&container, &image).await;
        let released = container.release().await;
        code.and_then(|code| released.map(|()| code))
    }

    async fn in_container(&self, container: &Container, image: &Image) -> Result<u8, ClientError> {
        let meta = pb::Meta {
            args: image.program(&self.command),
            env: image.environment(&self.env),
            cwd: self.workdir.clone().unwrap_or_else(|| image.directory()),
            user: self.user.clone().unwrap_or_else(|| image.user()),
            ..pb::Meta::default()
        };
        let init = gateway::InitMessage {
            meta: Some(meta),
            tty: self.tty,
            security: self.security.into(),
            ..gateway::InitMessage::default()
        };
        let exit = interactive::run(container, init).await?;
        Ok(u8::try_from(exit.code).unwrap_or(UNKNOWN))
    }
}

/// Returns the mount of the tree that was built; of several platforms, the first.
pub(super) fn root(built: &gateway::Result) -> pb::Mount {
    let id = match &built.result {
        Some(Trees::Ref(one)) => one.id.clone(),
        Some(Trees::RefDeprecated(id)) => id.clone(),
        Some(Trees::Refs(all)) => all
            .refs
            .values()
            .next()
            .map(|one| one.id.clone())
            .unwrap_or_default(),
        Some(Trees::RefsDeprecated(all)) => all.refs.values().next().cloned().unwrap_or_default(),
        None => String::new(),
    };
    pb::Mount {
        dest: "/".to_owned(),
        result_id: id,
        ..pb::Mount::default()
    }
}

/// Reads `NAME=VALUE`; a bare `NAME` takes the variable of the environment, or nothing.
fn variable(text: &str) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    let value = std::env::var(text).ok()?;
    Some(format!("{text}={value}"))
}

fn host(text: &str) -> Result<pb::HostIp, CliError> {
    let parts = text.split_once([':', '=']);
    let (host, ip) = parts.ok_or_else(|| CliError::BadHost(text.to_owned()))?;
    Ok(pb::HostIp {
        host: host.to_owned(),
        ip: ip.to_owned(),
    })
}
