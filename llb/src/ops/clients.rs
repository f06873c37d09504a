//! Asking the clients of the builds that want a step (row SES-07).
//!
//! Several builds may want one step, each with a client of its own. They are asked in turn, until
//! one has what is wanted:
//!
//! | a client | then |
//! |---|---|
//! | has it | that is the answer |
//! | says that it has not, or cannot | the next is asked; if none has it, what the first said counts |
//! | is gone, or was never there | the next is asked; counts only if no client said anything |
//!
//! Any other failure ends it: another client could not help.

use lamina_session::SessionError;
use lamina_sources::SourceError;

use super::OpFailure;

/// Asks each of `clients` until one has what is wanted.
///
/// # Errors
/// As the table says; [`OpFailure::NoBuild`] if there are none to be asked.
pub(super) async fn ask_each<C, T, F>(
    clients: impl IntoIterator<Item = C>,
    mut ask: impl FnMut(C) -> F,
) -> Result<T, OpFailure>
where
    F: Future<Output = Result<T, OpFailure>>,
{
    let (mut refusal, mut gone) = (None, None);
    for client in clients {
        match ask(client).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => match standing(&failure) {
                Standing::Refusal => refusal = refusal.or(Some(failure)),
                Standing::Gone => gone = gone.or(Some(failure)),
                Standing::Final => return Err(failure),
            },
        }
    }
    Err(refusal.or(gone).unwrap_or(OpFailure::NoBuild))
}

/// Says whether a client answered that it has not what was wanted, or cannot give it.
pub(super) fn is_refusal(failure: &OpFailure) -> bool {
    matches!(standing(failure), Standing::Refusal)
}

/// What a failure says of the client.
enum Standing {
    Refusal,
    Gone,
    /// It is not about the client.
    Final,
}

fn standing(failure: &OpFailure) -> Standing {
    let error = match failure {
        OpFailure::NoSecret(_) => return Standing::Refusal,
        OpFailure::Session(error) => Some(error),
        OpFailure::Source(source) => match &**source {
            SourceError::Session(error) => Some(error),
            _ => None,
        },
        _ => None,
    };
    match error {
        None | Some(SessionError::Cancelled(_)) => Standing::Final,
        Some(error) if error.is_gone() => Standing::Gone,
        Some(_) => Standing::Refusal,
    }
}

impl From<SessionError> for OpFailure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Session(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use lamina_types::Cancelled;

    use super::*;

    fn remote(message: &str, gone: bool) -> Result<u32, SessionError> {
        let message = message.to_owned();
        Err(SessionError::Remote { message, gone })
    }

    async fn ask(answers: Vec<Result<u32, SessionError>>) -> String {
        let asked = ask_each(answers, |answer| async { Ok(answer?) }).await;
        asked.map_or_else(|failure| failure.to_string(), |answer| answer.to_string())
    }

    #[tokio::test]
    async fn what_clients_say_counts_before_that_they_are_gone() {
        let no = || remote("no", false);
        let gone = || remote("gone", true);
        let absent = || Err(SessionError::NoSession);
        for (name, answers, wanted) in [
            (
                "the first that has it",
                vec![no(), gone(), Ok(1), Ok(2)],
                "1",
            ),
            ("an answer before", vec![no(), gone(), absent()], "no"),
            ("an answer after", vec![gone(), absent(), no()], "no"),
            ("the first of two", vec![no(), remote("never", false)], "no"),
            ("nobody is there", vec![gone(), absent()], "gone"),
            (
                "no files and files of another",
                vec![Err(SessionError::NoSessionForFiles), no()],
                "no",
            ),
            (
                "cancelled",
                vec![Err(Cancelled.into()), Ok(1)],
                "context canceled",
            ),
            ("none", vec![], "internal error: no build wants this step"),
        ] {
            assert_eq!(ask(answers).await, wanted, "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_clients_fault_ends_it() {
        let answers = [Err(OpFailure::NoRoot), Ok(1)];
        let asked = ask_each(answers, |answer| async { answer }).await;
        assert!(matches!(asked, Err(OpFailure::NoRoot)));
    }
}
