//! The runtime of commands other than the daemon.

use std::process::ExitCode;

use crate::error::CliError;

/// Runs a command to its end.
pub(crate) fn block_on(
    command: impl Future<Output = Result<ExitCode, CliError>>,
) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let code = runtime.block_on(command);
    // Work that was abandoned by a cancelled build must not hold up the end.
    runtime.shutdown_background();
    code
}
