//! Agents and other Unix sockets of this host (rows SVC-15, SVC-16).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use lamina_types::IoContext;
use tokio::net::UnixStream;

use crate::Duplex;
use crate::SessionError;

/// What a mount without an id means.
const DEFAULT: &str = "default";

pub(super) fn agent_name(id: &str) -> &str {
    if id.is_empty() { DEFAULT } else { id }
}

fn find<'a>(agents: &'a BTreeMap<String, PathBuf>, id: &str) -> Result<&'a PathBuf, SessionError> {
    let name = agent_name(id);
    agents.get(name).ok_or_else(|| SessionError::NoSuchAgent {
        id: name.to_owned(),
    })
}

/// Checks that there is a socket, without connecting: an agent may ask its user each time.
pub(super) fn check(agents: &BTreeMap<String, PathBuf>, id: &str) -> Result<(), SessionError> {
    let path = find(agents, id)?;
    let found = fs::metadata(path).at(path.display())?;
    if found.file_type().is_socket() {
        return Ok(());
    }
    Err(SessionError::NoSuchAgent {
        id: agent_name(id).to_owned(),
    })
}

pub(super) async fn connect(
    agents: &BTreeMap<String, PathBuf>,
    id: &str,
) -> Result<Box<dyn Duplex>, SessionError> {
    let path = find(agents, id)?;
    let stream = UnixStream::connect(path).await.at(path.display())?;
    Ok(Box::new(stream))
}
