//! What systemd is told (row FLG-16): `READY=1` once builds can run, `STOPPING=1` at the end.
//!
//! An ordinary user's daemon goes on in a child (see [`lamina_executor::userns`]), so its unit needs
//! `NotifyAccess=all`.

use sd_notify::NotifyState;

/// Tells that builds can run now.
pub(crate) fn ready() {
    tell(&NotifyState::Ready);
}

/// Tells that the daemon is going to end.
pub(crate) fn stopping() {
    tell(&NotifyState::Stopping);
}

fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "the service manager cannot be told: {state}");
    }
}
