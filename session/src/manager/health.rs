//! Watching whether a client still answers (rows SES-05, SVC-21).

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::SessionError;

/// Patience with a client. A check may fail for no worse reason than a line full of data, so it
/// takes long, and one failure alone does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Patience {
    interval: Duration,
    timeout: Duration,
    failures: u32,
}

impl Patience {
    /// `wish` is what the client says, and at least a second.
    fn new(wish: Option<Duration>) -> Self {
        match wish.filter(|wish| !wish.is_zero()) {
            Some(wish) => Self {
                interval: wish.max(Duration::from_secs(1)),
                timeout: wish.max(Duration::from_secs(1)),
                failures: 1,
            },
            None => Self {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(15),
                failures: 2,
            },
        }
    }

    /// A client that was slow before may be slower now.
    fn timeout_after(&self, last: Duration) -> Duration {
        self.timeout.max(last.saturating_mul(3) / 2)
    }
}

/// Checks the client again and again; returns why it counts as lost.
pub(super) async fn watch(channel: Channel, wish: Option<Duration>) -> SessionError {
    let patience = Patience::new(wish);
    let mut client = HealthClient::new(channel);
    let mut last = Duration::ZERO;
    let mut failures = 0;
    loop {
        tokio::time::sleep(patience.interval).await;
        let start = Instant::now();
        match check(&mut client, patience.timeout_after(last)).await {
            Ok(()) => failures = 0,
            Err(status) => {
                failures += 1;
                tracing::warn!(failures, message = status.message(), "health check failed");
                if failures >= patience.failures {
                    return SessionError::Remote {
                        message: format!(
                            "session healthcheck failed fatally: {}",
                            status.message()
                        ),
                        gone: true,
                    };
                }
            }
        }
        last = start.elapsed();
    }
}

async fn check(client: &mut HealthClient<Channel>, limit: Duration) -> Result<(), Status> {
    let call = client.check(HealthCheckRequest::default());
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(_)) => Ok(()),
        // It does not offer health checks, but it is there.
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(()),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_ask_for_less_patience() {
        let seconds = Duration::from_secs;
        let patience = |interval, timeout, failures| Patience {
            interval: seconds(interval),
            timeout: seconds(timeout),
            failures,
        };
        for (wish, wanted) in [
            (None, patience(5, 15, 2)),
            (Some(Duration::ZERO), patience(5, 15, 2)),
            (Some(Duration::from_millis(1)), patience(1, 1, 1)),
            (Some(seconds(3)), patience(3, 3, 1)),
        ] {
            assert_eq!(Patience::new(wish), wanted, "{wish:?}");
        }
        let patience = Patience::new(None);
        assert_eq!(patience.timeout_after(seconds(4)), seconds(15));
        assert_eq!(patience.timeout_after(seconds(20)), seconds(30));
    }
}
