//! Remotes by ssh: the client's agent and the keys of hosts (row SRC-19).
//!
//! Neither configuration nor keys nor known hosts of the user that the daemon runs as are used. The
//! agent is a socket that forwards each connection to the client.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use lamina_session::Session;
use lamina_session::host;
use lamina_types::IoContext;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::GitError;
use super::program::Git;
use super::wish::GitWish;
use crate::SourceContext;
use crate::SourceError;

const KNOWN_HOSTS: &str = "known_hosts";
const SOCKET: &str = "agent";

/// Serves ssh while it lasts.
#[must_use]
pub(super) struct Ssh {
    /// The paths that ssh gets lead through this descriptor: they are short and hold nothing that a
    /// shell or ssh would read otherwise, whatever the state folder is called.
    folder: OwnedFd,
    serving: JoinSet<()>,
}

impl Ssh {
    /// Lets `git` use ssh as the build wants; `folder` is for files of its own.
    ///
    /// # Errors
    /// [`GitError::Agent`] if the client does not have the agent; I/O errors.
    pub(super) async fn add(
        git: &mut Git,
        folder: &Path,
        wish: &GitWish,
        context: &SourceContext,
    ) -> Result<Self, SourceError> {
        let mut ssh = Self {
            folder: host::open_root(folder).at(folder.display())?,
            serving: JoinSet::new(),
        };
        let mut command = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none".to_owned();
        match &wish.known_hosts {
            Some(known) => {
                let path = folder.join(KNOWN_HOSTS);
                fs::write(&path, known).at(path.display())?;
                let path = ssh.path(KNOWN_HOSTS)?;
                command.push_str(&format!(" -o UserKnownHostsFile={path}"));
            }
            // As BuildKit does; nothing is remembered of the host either.
            None => command.push_str(
                " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            ),
        }
        git.variables
            .push(("GIT_SSH_COMMAND", OsString::from(command)));
        if let Some(id) = &wish.ssh_agent {
            ssh.forward(id, context).await?;
            let path = ssh.path(SOCKET)?;
            git.variables.push(("SSH_AUTH_SOCK", OsString::from(path)));
        }
        Ok(ssh)
    }

    /// Returns the path of a file in the folder, for programs that this process starts.
    fn path(&self, name: &str) -> Result<String, SourceError> {
        const OWN: &str = "/proc/self";
        // What /proc calls this process: it may be that of another namespace.
        let number = fs::read_link(OWN).at(OWN)?;
        let folder = self.folder.as_raw_fd();
        Ok(format!("/proc/{}/fd/{folder}/{name}", number.display()))
    }

    async fn forward(&mut self, id: &str, context: &SourceContext) -> Result<(), SourceError> {
        let refused = |error: lamina_session::SessionError| GitError::Agent {
            id: id.to_owned(),
            reason: error.to_string(),
        };
        context.session.check_ssh(id).await.map_err(refused)?;
        let listener = UnixListener::bind(self.path(SOCKET)?).at(SOCKET)?;
        let (session, id) = (Arc::clone(&context.session), id.to_owned());
        self.serving.spawn(serve(listener, session, id));
        Ok(())
    }
}

/// Takes connections until it is dropped.
async fn serve(listener: UnixListener, session: Arc<dyn Session>, id: String) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connect(stream, Arc::clone(&session), id.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut stream: UnixStream, session: Arc<dyn Session>, id: String) {
    let forwarded = async {
        let mut agent = session
            .connect_ssh(&id)
            .await
            .map_err(std::io::Error::other)?;
        tokio::io::copy_bidirectional(&mut stream, &mut agent).await
    };
    if let Err(error) = forwarded.await {
        // Ssh sees a closed connection, and says so.
        tracing::debug!(%error, %id, "an agent's connection ended early");
    }
}
