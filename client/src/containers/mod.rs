//! Containers of a build that is driven from here (rows GCL-07 to GCL-13).
//!
//! ```text
//! Gateway::new_container ──► Container ── start ──► ContainerProcess ── next ──► ProcessEvent
//!                                                      └─ input ──► ProcessInput
//! ```
//! All processes of a [`Gateway`] and its clones share one stream to the daemon, opened with the
//! first. Who does not read the output of one process in the end holds up the others.
//!
//! ```no_run
//! use lamina_client::Gateway;
//! use lamina_client::ProcessEvent;
//! use lamina_proto::gateway;
//! use lamina_proto::pb;
//!
//! # async fn example(gateway: Gateway, reference: String) -> Result<(), lamina_client::ClientError> {
//! let root = pb::Mount { dest: "/".to_owned(), result_id: reference, ..pb::Mount::default() };
//! let container = gateway
//!     .new_container(gateway::NewContainerRequest { mounts: vec![root], ..Default::default() })
//!     .await?;
//! let meta = pb::Meta { args: vec!["ls".to_owned()], ..pb::Meta::default() };
//! let init = gateway::InitMessage { meta: Some(meta), fds: vec![1], ..Default::default() };
//! let mut process = container.start(init).await?;
//! while let Some(event) = process.next().await? {
//!     if let ProcessEvent::Output { data, .. } = event {
//!         std::io::Write::write_all(&mut std::io::stdout(), &data).ok();
//!     }
//! }
//! container.release().await
//! # }
//! ```

mod process;
mod stream;

use lamina_proto::fsutil;
use lamina_proto::gateway;
use lamina_session::fresh_id;

pub use process::ContainerProcess;
pub use process::Exit;
pub use process::ProcessEvent;
pub use process::ProcessInput;

use crate::ClientError;
use crate::Gateway;

pub(crate) use stream::ExecStream;

/// A container of a build. It ends with the build, or with [`Container::release`].
#[derive(Clone, Debug)]
pub struct Container {
    gateway: Gateway,
    id: String,
}

impl Gateway {
    /// Makes a container; nothing runs yet (rows EXE-01 to EXE-06). Its id is made up here.
    ///
    /// # Errors
    /// If a mount makes no sense or cannot be had, or the build may not have what is asked for.
    pub async fn new_container(
        &self,
        mut request: gateway::NewContainerRequest,
    ) -> Result<Container, ClientError> {
        request.container_id = fresh_id();
        let id = request.container_id.clone();
        let answer = self.bridge().new_container(self.request(request)).await;
        self.answer(answer)?;
        Ok(Container {
            gateway: self.clone(),
            id,
        })
    }
}

impl Container {
    /// Starts a process and waits until its program runs (rows EXE-09, EXE-12). The first one of a
    /// container is its main process, with which all others end.
    ///
    /// # Errors
    /// If it cannot be started. That ends all processes of this [`Gateway`], whose stream it is.
    pub async fn start(
        &self,
        mut init: gateway::InitMessage,
    ) -> Result<ContainerProcess, ClientError> {
        init.container_id.clone_from(&self.id);
        let stream = self.gateway.exec_stream().await;
        let mut process = ContainerProcess::open(stream, init).await?;
        process.started().await?;
        Ok(process)
    }

    /// Kills what runs in it, and waits until it is gone (row EXE-07). Releasing it again does
    /// nothing.
    ///
    /// # Errors
    /// If the daemon cannot be reached.
    pub async fn release(&self) -> Result<(), ClientError> {
        let request = self.gateway.request(gateway::ReleaseContainerRequest {
            container_id: self.id.clone(),
        });
        let answer = self.gateway.bridge().release_container(request).await;
        match self.gateway.answer(answer) {
            Err(ClientError::Daemon(failure)) if failure.code == NOT_FOUND => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Reads a file on the mount with this index, as it is now (row EXE-24).
    ///
    /// # Errors
    /// If there is no such mount or file.
    pub async fn read_file(
        &self,
        mount: i32,
        path: &str,
        range: Option<gateway::FileRange>,
    ) -> Result<Vec<u8>, ClientError> {
        let request = self.gateway.request(gateway::ReadFileRequest {
            r#ref: self.id.clone(),
            file_path: path.to_owned(),
            range,
            mount_index: mount,
        });
        let answer = self.gateway.bridge().read_file_container(request).await;
        Ok(self.gateway.answer(answer)?.data)
    }

    /// Lists a directory on the mount with this index; an empty pattern lists all (row EXE-24).
    ///
    /// # Errors
    /// If there is no such mount or directory.
    pub async fn read_dir(
        &self,
        mount: i32,
        path: &str,
        include: &str,
    ) -> Result<Vec<fsutil::Stat>, ClientError> {
        let request = self.gateway.request(gateway::ReadDirRequest {
            r#ref: self.id.clone(),
            dir_path: path.to_owned(),
            include_pattern: include.to_owned(),
            mount_index: mount,
        });
        let answer = self.gateway.bridge().read_dir_container(request).await;
        Ok(self.gateway.answer(answer)?.entries)
    }

    /// Describes a file on the mount with this index (row EXE-24).
    ///
    /// # Errors
    /// If there is no such mount or file.
    pub async fn stat_file(&self, mount: i32, path: &str) -> Result<fsutil::Stat, ClientError> {
        let request = self.gateway.request(gateway::StatFileRequest {
            r#ref: self.id.clone(),
            path: path.to_owned(),
            mount_index: mount,
        });
        let answer = self.gateway.bridge().stat_file_container(request).await;
        let stat = self.gateway.answer(answer)?.stat;
        stat.ok_or(ClientError::Malformed("StatFile without a description"))
    }
}

const NOT_FOUND: i32 = tonic::Code::NotFound as i32;
