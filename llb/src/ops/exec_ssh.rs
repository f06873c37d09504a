//! Sockets of the client in a step (rows EXC-27, SVC-15, SVC-16).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_executor::OnConnect;
use lamina_session::Session;
use lamina_solver::OpContext;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;

use super::BuildContext;
use super::OpFailure;
use super::clients::ask_each;
use super::clients::is_refusal;
use crate::model::ExecStep;
use crate::model::ForwardedSocket;
use crate::model::MountType;

/// What serves the sockets that mounts need, by index of the mount; optional ones may be missing.
///
/// Every one is asked for before the step starts, so that a client which forwards nothing is told
/// at once.
pub(super) async fn sockets(
    step: &ExecStep,
    context: &OpContext<BuildContext>,
) -> Result<BTreeMap<usize, OnConnect>, OpFailure> {
    let mut found = BTreeMap::new();
    for (at, mount) in step.mounts.iter().enumerate() {
        if let MountType::Ssh(socket) = &mount.kind
            && let Some(session) = forwarding(socket, context).await?
        {
            // The others stand in if this client goes away.
            let others = context
                .builds()
                .into_iter()
                .map(|build| Arc::clone(&build.session));
            let others = others.filter(|other| other.id() != session.id());
            let sessions = std::iter::once(Arc::clone(&session))
                .chain(others)
                .collect();
            found.insert(at, forward(sessions, &socket.id));
        }
    }
    Ok(found)
}

/// The session of a client that forwards `socket` (row SES-07). Only a client that says no makes an
/// optional one missing.
async fn forwarding(
    socket: &ForwardedSocket,
    context: &OpContext<BuildContext>,
) -> Result<Option<Arc<dyn Session>>, OpFailure> {
    let asked = ask_each(context.builds(), |build| async move {
        build.session.check_ssh(&socket.id).await?;
        Ok(Arc::clone(&build.session))
    });
    match asked.await {
        Ok(session) => Ok(Some(session)),
        Err(failure) if socket.optional && is_refusal(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn forward(sessions: Arc<[Arc<dyn Session>]>, id: &str) -> OnConnect {
    let id: Arc<str> = Arc::from(id);
    Arc::new(move |stream| {
        let (sessions, id) = (Arc::clone(&sessions), Arc::clone(&id));
        Box::pin(async move { connect(&sessions, &id, stream).await })
    })
}

/// Joins a connection of the step to one at the client; closes it if there is none to be had.
async fn connect(sessions: &[Arc<dyn Session>], id: &str, mut stream: UnixStream) {
    let asked = ask_each(sessions, |session| async move {
        Ok(session.connect_ssh(id).await?)
    });
    match asked.await {
        Ok(mut remote) => {
            if let Err(error) = copy_bidirectional(&mut stream, &mut remote).await {
                tracing::debug!(%error, id, "a forwarded connection broke");
            }
        }
        Err(error) => tracing::debug!(%error, id, "no client forwards"),
    }
}
