//! One build: Solve, Status and Session side by side (row CCL-02).
//!
//! ```text
//! Session  ├──────────────────────────┤             ends with Solve
//! Solve        ├──────────────────────┤             dropping the call cancels the build
//! Status       ├─────────────────────────┤          ends by itself, or after a silence
//! drive          ├──── gateway ────┤ Return         only for builds that the client drives
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use lamina_proto::control;
use lamina_proto::gateway;
use lamina_session::fresh_id;
use lamina_types::CancelToken;
use lamina_types::Cancelled;

use crate::BuildRequest;
use crate::Client;
use crate::ClientError;
use crate::Gateway;
use crate::StatusSender;
use crate::session_server;

/// Progress may lag behind: how long after the last event of a build that has ended it is given up.
const STATUS_SILENCE: Duration = Duration::from_secs(5);

/// As [`STATUS_SILENCE`], if there never was an event: the build was refused before it began, and
/// the daemon waits for a build that will not come (row CSTA-01).
const FIRST_EVENT_SILENCE: Duration = Duration::from_secs(1);

/// How long Solve may take to end after `Return` failed: it has the better error.
const SOLVE_SILENCE: Duration = Duration::from_secs(5);

/// How long transfers of the session may take to notice that the build has ended.
const SESSION_SILENCE: Duration = Duration::from_secs(1);

/// What exporters report.
type Response = BTreeMap<String, String>;

impl Client {
    /// Builds. Progress goes to `events` (row CCL-02); returns the exporters' response.
    ///
    /// While `events` is full the daemon keeps what comes next, for as long as the build runs. Its end waits
    /// five seconds for a receiver that takes nothing, and then gives the rest of the progress up.
    ///
    /// Dropping the future, or cancelling, cancels the build (row NET-17). When this returns, the
    /// session has ended and no more events come.
    ///
    /// # Errors
    /// Why the build failed.
    pub async fn solve(
        &self,
        request: BuildRequest,
        events: impl Into<StatusSender> + Send,
        cancel: &CancelToken,
    ) -> Result<Response, ClientError> {
        let id = id_of(&request);
        let work = self.call_solve(&request, &id);
        self.supervise(&id, &request, work, events.into(), cancel)
            .await
    }

    /// Builds what `drive` returns, having driven the build through the gateway (row CSOL-03).
    ///
    /// An error of `drive` goes to the daemon with its details, and comes back as the build's.
    ///
    /// # Errors
    /// Why the build, or `drive`, failed.
    pub async fn build<F, R>(
        &self,
        request: BuildRequest,
        drive: F,
        events: impl Into<StatusSender> + Send,
        cancel: &CancelToken,
    ) -> Result<Response, ClientError>
    where
        F: FnOnce(Gateway) -> R + Send,
        R: Future<Output = Result<gateway::Result, ClientError>> + Send,
    {
        let id = id_of(&request);
        let gateway = Gateway::new(self.clone(), &id)?;
        let driver = async {
            let outcome = drive(gateway.clone()).await;
            gateway.finish(&outcome).await.and(outcome.map(drop))
        };
        let solve = Box::pin(self.call_solve(&request, &id));
        let work = driven(solve, Box::pin(driver));
        self.supervise(&id, &request, work, events.into(), cancel)
            .await
    }

    async fn call_solve(&self, request: &BuildRequest, id: &str) -> Result<Response, ClientError> {
        let answer = self.control().solve(request.to_wire(id)).await;
        Ok(self.answer(answer)?.exporter_response)
    }

    /// Runs `work` with the session and the progress beside it. `work` is dropped before the rest
    /// ends, which is what cancels a build at the daemon.
    async fn supervise(
        &self,
        id: &str,
        request: &BuildRequest,
        work: impl Future<Output = Result<Response, ClientError>>,
        events: StatusSender,
        cancel: &CancelToken,
    ) -> Result<Response, ClientError> {
        cancel.check()?;
        let ended = CancelToken::new();
        // Whatever way this future ends, the session ends with it.
        let _ends_session = ended.cancel_on_drop();
        let work = async {
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = cancel.cancelled() => Err(Cancelled.into()),
            };
            ended.cancel();
            outcome
        };
        let session = session_server::attach(self, request, &ended);
        let status = self.follow(id, events, &ended);
        // On the heap: together they are large, and callers nest them further.
        beside(Box::pin(work), Box::pin(session), Box::pin(status), &ended).await
    }

    /// Hands events on until the daemon has no more, nobody wants them, or the build has ended and
    /// there is silence. Progress is for people: its loss does not fail a build.
    async fn follow(&self, id: &str, events: StatusSender, ended: &CancelToken) {
        let request = control::StatusRequest { r#ref: id.into() };
        let mut control = self.control();
        let opened = until_silent(control.status(request), ended, FIRST_EVENT_SILENCE).await;
        let mut stream = match opened {
            Some(Ok(stream)) => stream.into_inner(),
            Some(Err(status)) => return lost(&status),
            None => return,
        };
        let mut silence = FIRST_EVENT_SILENCE;
        while let Some(message) = until_silent(stream.message(), ended, silence).await {
            match message {
                Ok(Some(event)) => {
                    silence = STATUS_SILENCE;
                    let sent = until_silent(events.send(event), ended, silence).await;
                    if sent != Some(true) {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => return lost(&status),
            }
        }
    }
}

fn lost(status: &tonic::Status) {
    tracing::debug!(code = ?status.code(), message = status.message(), "progress ended");
}

fn id_of(request: &BuildRequest) -> String {
    match &request.id[..] {
        "" => fresh_id(),
        id => id.to_owned(),
    }
}

/// Waits for Solve while the client drives. Solve has the last word, with the error that the daemon
/// made of the client's.
async fn driven(
    solve: impl Future<Output = Result<Response, ClientError>>,
    driver: impl Future<Output = Result<(), ClientError>>,
) -> Result<Response, ClientError> {
    tokio::pin!(solve);
    let driven = tokio::select! {
        outcome = &mut solve => return outcome,
        driven = driver => driven,
    };
    match driven {
        Ok(()) => solve.await,
        Err(error) => match tokio::time::timeout(SOLVE_SILENCE, solve).await {
            Ok(Err(outcome)) => Err(outcome),
            _ => Err(error),
        },
    }
}

/// Runs the three parts of a build. A session that cannot be had ends it, as it would fail later
/// and say less; one that ends early does not, as not all builds need it (row SES-08).
async fn beside(
    work: impl Future<Output = Result<Response, ClientError>>,
    session: impl Future<Output = Result<(), ClientError>>,
    status: impl Future<Output = ()>,
    ended: &CancelToken,
) -> Result<Response, ClientError> {
    let main = async {
        tokio::pin!(work);
        tokio::pin!(session);
        tokio::select! {
            outcome = &mut work => {
                let closed = tokio::time::timeout(SESSION_SILENCE, session).await;
                tracing::debug!(closed = closed.is_ok(), "session ended");
                outcome
            }
            served = &mut session => match served {
                Ok(()) => work.await,
                Err(error) => Err(error),
            },
        }
    };
    let main = async {
        let outcome = main.await;
        ended.cancel();
        outcome
    };
    tokio::join!(main, status).0
}

/// Waits for `future`, but once `ended` is cancelled only for so long.
async fn until_silent<F: Future>(
    future: F,
    ended: &CancelToken,
    silence: Duration,
) -> Option<F::Output> {
    let silent = async {
        ended.cancelled().await;
        tokio::time::sleep(silence).await;
    };
    tokio::select! {
        biased;
        output = future => Some(output),
        () = silent => None,
    }
}
