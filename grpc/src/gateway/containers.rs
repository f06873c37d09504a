//! The containers that a caller has, by its own ids (rows EXE-01, EXE-07, EXE-24).

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_llb::BuildError;
use lamina_llb::Container;
use lamina_llb::ContainerMount;
use lamina_llb::ContainerRequest;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_session::stat_to_wire;
use lamina_types::CancelToken;
use lamina_types::Platform;
use tonic::Code;

use super::DrivenBuild;

/// Containers that one build may have at a time: each holds mounts, and a hostile frontend could
/// go on for ever.
const MAX_CONTAINERS: usize = 1_000;

/// Longest id; clients use a few dozen bytes.
const MAX_ID_BYTES: usize = 1_024;

/// Containers by id. `None` while one is made.
#[derive(Default)]
pub(super) struct Containers {
    table: Mutex<HashMap<String, Option<Container>>>,
    /// Cancelled when the build has ended.
    closed: CancelToken,
}

impl Containers {
    /// Returns the container with an id.
    pub(super) fn get(&self, id: &str) -> Option<Container> {
        self.table().get(id).cloned().flatten()
    }

    /// Ends all of them, and lets nobody make another.
    pub(super) fn close(&self) {
        self.closed.cancel();
        // Outside of the lock: their end is work.
        let all = std::mem::take(&mut *self.table());
        drop(all);
    }

    /// Waits until [`Containers::close`].
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn reserve(&self, id: &str) -> Result<(), BuildError> {
        if id.len() > MAX_ID_BYTES {
            let text = format!("a container id has at most {MAX_ID_BYTES} bytes");
            return Err(coded(Code::InvalidArgument, text));
        }
        self.closed.check()?;
        let mut table = self.table();
        if table.contains_key(id) {
            let text = format!("Container {id} already exists");
            return Err(coded(Code::AlreadyExists, text));
        }
        if table.len() >= MAX_CONTAINERS {
            let text = format!("a build has at most {MAX_CONTAINERS} containers");
            return Err(coded(Code::ResourceExhausted, text));
        }
        table.insert(id.to_owned(), None);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Option<Container>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives an id back unless its container was made.
struct Reserved<'a> {
    containers: &'a Containers,
    id: &'a str,
}

impl Reserved<'_> {
    fn fill(self, container: Container) -> Result<(), BuildError> {
        let mut table = self.containers.table();
        // Not there any more: the build has ended meanwhile.
        let place = table.get_mut(self.id);
        *place.ok_or_else(BuildError::cancelled)? = Some(container);
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut table = self.containers.table();
        if let Some(None) = table.get(self.id) {
            table.remove(self.id);
        }
    }
}

/// Makes an error with a code of its own.
pub(super) fn coded(code: Code, text: String) -> BuildError {
    BuildError {
        code: Some(code as i32),
        ..BuildError::new(text)
    }
}

impl DrivenBuild {
    /// Row EXE-01.
    pub(super) async fn new_container(
        &self,
        request: gateway::NewContainerRequest,
    ) -> Result<gateway::NewContainerResponse, BuildError> {
        let id = request.container_id.clone();
        self.containers.reserve(&id)?;
        let reserved = Reserved {
            containers: &self.containers,
            id: &id,
        };
        let request = self.container_request(request)?;
        let container = self.bridge.new_container(request).await?;
        reserved.fill(container)?;
        Ok(gateway::NewContainerResponse {})
    }

    fn container_request(
        &self,
        request: gateway::NewContainerRequest,
    ) -> Result<ContainerRequest, BuildError> {
        let mounts = request.mounts.into_iter().map(|mount| self.mount(mount));
        let platform = request.platform.filter(|given| !given.os.is_empty());
        let platform =
            platform.map(|given| Platform::new(&given.os, &given.architecture, &given.variant));
        Ok(ContainerRequest {
            mounts: mounts.collect::<Result<_, _>>()?,
            network: request.network,
            extra_hosts: request.extra_hosts,
            hostname: request.hostname,
            platform,
        })
    }

    fn mount(&self, mount: pb::Mount) -> Result<ContainerMount, BuildError> {
        let id = &mount.result_id;
        let reference = match id.is_empty() {
            true => None,
            false => Some(self.references.get(id).map_err(|error| {
                let text = format!("failed to find ref {id} for {:?} mount", mount.dest);
                BuildError {
                    message: format!("{text}: {error}"),
                    ..error
                }
            })?),
        };
        Ok(ContainerMount { mount, reference })
    }

    /// Row EXE-07.
    pub(super) async fn release_container(
        &self,
        request: gateway::ReleaseContainerRequest,
    ) -> Result<gateway::ReleaseContainerResponse, BuildError> {
        let id = &request.container_id;
        let container = self.container(id)?;
        // Its id may be used again once nothing is left of it.
        container.release().await;
        self.containers.table().remove(id);
        Ok(gateway::ReleaseContainerResponse {})
    }

    fn container(&self, id: &str) -> Result<Container, BuildError> {
        let missing = || {
            coded(
                Code::NotFound,
                format!("container details for {id} not found"),
            )
        };
        self.containers.get(id).ok_or_else(missing)
    }

    /// Row EXE-24.
    pub(super) async fn read_file_container(
        &self,
        request: gateway::ReadFileRequest,
    ) -> Result<gateway::ReadFileResponse, BuildError> {
        let (container, mount) = (self.container(&request.r#ref)?, request.mount_index);
        let range = request.range.map(range_of).transpose()?;
        let path = &request.file_path;
        let data = container.read_file(index(mount)?, path, range).await?;
        Ok(gateway::ReadFileResponse { data })
    }

    /// Row EXE-24.
    pub(super) async fn read_dir_container(
        &self,
        request: gateway::ReadDirRequest,
    ) -> Result<gateway::ReadDirResponse, BuildError> {
        let (container, mount) = (self.container(&request.r#ref)?, request.mount_index);
        let include = Some(request.include_pattern.as_str()).filter(|text| !text.is_empty());
        let listed = container.read_dir(index(mount)?, &request.dir_path, include);
        let entries = listed.await?;
        let entries = entries.iter().map(|(name, stat)| stat_to_wire(name, stat));
        Ok(gateway::ReadDirResponse {
            entries: entries.collect(),
        })
    }

    /// Row EXE-24.
    pub(super) async fn stat_file_container(
        &self,
        request: gateway::StatFileRequest,
    ) -> Result<gateway::StatFileResponse, BuildError> {
        let (container, mount) = (self.container(&request.r#ref)?, request.mount_index);
        let (name, stat) = container.stat_file(index(mount)?, &request.path).await?;
        Ok(gateway::StatFileResponse {
            stat: Some(stat_to_wire(&name, &stat)),
        })
    }
}

/// Offset and length; a length below zero means up to the end (row GW-25).
fn range_of(range: gateway::FileRange) -> Result<(u64, u64), BuildError> {
    let negative = |_| coded(Code::InvalidArgument, "negative offset".to_owned());
    let offset = u64::try_from(range.offset).map_err(negative)?;
    Ok((offset, u64::try_from(range.length).unwrap_or(u64::MAX)))
}

fn index(mount: i32) -> Result<usize, BuildError> {
    let negative = |_| coded(Code::InvalidArgument, format!("no mount {mount}"));
    usize::try_from(mount).map_err(negative)
}
