//! SIGTERM and SIGINT: the first stops the daemon in good order, the second at once.

use lamina_types::CancelToken;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::error::DaemonError;

/// Exit code after the second signal, as shells have it for SIGINT.
const AT_ONCE: i32 = 130;

/// Returns a token that the first signal cancels. Must be called inside the runtime.
///
/// At the second one the process ends where it is: the kernel then ends its steps and its mounts.
pub(crate) fn stop_on_signal() -> Result<CancelToken, DaemonError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Runtime)?;
    let stop = CancelToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        token.cancel();
        next().await;
        tracing::warn!("second signal: ending at once");
        std::process::exit(AT_ONCE);
    });
    Ok(stop)
}
