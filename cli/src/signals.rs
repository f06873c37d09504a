//! Ctrl-C and SIGTERM: the first cancels the build, the second ends the command at once.

use std::time::Duration;

use lamina_types::CancelToken;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::error::CliError;
use crate::interactive;

/// How long a cancelled build may take to clean up before the command ends anyway; what is left of
/// it dies with the command, and its temporary layer is swept by the next one.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Exit code after an interrupt, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Returns a token that the first signal cancels.
///
/// Must be called inside the runtime.
pub(crate) fn cancel_on_signal() -> Result<CancelToken, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    let cancel = CancelToken::new();
    let token = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = tokio::time::sleep(PATIENCE) => {}
        }
        interactive::restore();
        std::process::exit(INTERRUPTED.into());
    });
    Ok(cancel)
}
