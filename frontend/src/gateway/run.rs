//! Which of a program's endings counts: what it returned, or how it exited (rows GW-30, GW-36).

use std::sync::Arc;
use std::time::Duration;

use lamina_llb::Bridge;
use lamina_llb::BridgeServer;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::RunningProcess;

/// How long one half of a program's end waits for the other: they come together, unless the
/// program closes its pipe and stays.
const OTHER_HALF: Duration = Duration::from_secs(5);

type Returned = Option<Result<BuildResult, BuildError>>;

/// Serves the program until it ends.
pub(super) async fn finish(
    server: &dyn BridgeServer,
    bridge: Arc<dyn Bridge>,
    running: RunningProcess,
) -> Result<BuildResult, BuildError> {
    let mut served = server.serve(bridge, running.pipe);
    let mut exit = running.exit;
    tokio::select! {
        returned = &mut served => {
            let exited = tokio::time::timeout(OTHER_HALF, exit).await;
            judge(returned, exited.ok())
        }
        exited = &mut exit => {
            let returned = tokio::time::timeout(OTHER_HALF, served).await;
            judge(returned.ok().flatten(), Some(exited))
        }
    }
}

/// An error that was returned wins; then how the program exited; then what it returned.
fn judge(
    returned: Returned,
    exited: Option<Result<(), BuildError>>,
) -> Result<BuildResult, BuildError> {
    match (returned, exited) {
        (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
        (Some(Ok(result)), _) => Ok(result),
        (None, Some(Ok(()))) => Err(BuildError::new("no result for incomplete build")),
        (None, None) => Err(BuildError::new("frontend grpc server closed unexpectedly")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_ending_counts() {
        let error = |text| BuildError::new(text);
        let fine = || Some(Ok(BuildResult::default()));
        for (name, returned, exited, expected) in [
            ("all well", fine(), Some(Ok(())), None),
            ("stays after its result", fine(), None, None),
            (
                "fails after its result",
                fine(),
                Some(Err(error("exit"))),
                Some("exit"),
            ),
            (
                "returns an error",
                Some(Err(error("e"))),
                Some(Ok(())),
                Some("e"),
            ),
            (
                "returns an error and fails",
                Some(Err(error("e"))),
                Some(Err(error("exit"))),
                Some("e"),
            ),
            (
                "fails without a word",
                None,
                Some(Err(error("exit"))),
                Some("exit"),
            ),
            (
                "ends without a word",
                None,
                Some(Ok(())),
                Some("no result for incomplete build"),
            ),
            (
                "closes its pipe",
                None,
                None,
                Some("frontend grpc server closed unexpectedly"),
            ),
        ] {
            let error = judge(returned, exited).err().map(|error| error.message);
            assert_eq!(error.as_deref(), expected, "{name}");
        }
    }
}
