//! Errors on the wire: codes, messages and typed details (rows NET-10 to NET-15, ERR-01 to ERR-10).
//!
//! A [`BuildError`] carries its details as data. Here they become `google.rpc.Status` and back:
//!
//! ```text
//! BuildError <-> code, message, details: [Any { type_url: ".../errdefs.Vertex+json", value: JSON }]
//! ```
//! An error that came over the wire keeps its details as they were, in order, whether or not they
//! mean something here ([`BuildError::foreign`]); what was read out of them is not said twice when
//! the error is passed on.

mod details;
mod json;

use lamina_llb::BuildError;
use lamina_llb::SolveFailure;
use lamina_proto::rpc;
use prost::Message as _;
use tonic::Code;
use tonic::Status;

/// References of a failed op by the ids under which the receiver can use them (row ERR-03).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FailureIds {
    /// One for each input; empty where there is none.
    pub(crate) inputs: Vec<String>,
    /// One for each mount; empty where there is none.
    pub(crate) mounts: Vec<String>,
}

/// Returns the error as the status of a call. What is left of a failed op is not in it: its
/// references mean nothing outside the build.
#[must_use]
pub fn to_status(error: &BuildError) -> Status {
    as_call_status(to_rpc(error))
}

/// Returns the error as a message, for where errors travel inside of others.
#[must_use]
pub fn to_rpc(error: &BuildError) -> rpc::Status {
    encode(error, Vec::new())
}

/// Returns the error with what is left of the failed op, under the given ids.
pub(crate) fn with_failure(error: &BuildError, failure: &SolveFailure, ids: FailureIds) -> Status {
    as_call_status(encode(error, details::solve(failure, ids)))
}

fn encode(error: &BuildError, solve: Vec<prost_types::Any>) -> rpc::Status {
    rpc::Status {
        code: code(error) as i32,
        message: error.message.clone(),
        details: details::encode(error, solve),
    }
}

/// Reads an error of the other side; the code of success is not one (row GW-30).
#[must_use]
pub fn from_rpc(status: rpc::Status) -> Option<BuildError> {
    let code = Code::from_i32(status.code);
    if status.code == 0 {
        return None;
    }
    let mut error = BuildError {
        message: status.message,
        code: Some(code as i32),
        cancelled: code == Code::Cancelled,
        ..BuildError::default()
    };
    details::decode(status.details, &mut error);
    Some(error)
}

/// Chooses the code (row NET-14).
fn code(error: &BuildError) -> Code {
    match error.code.map(Code::from_i32) {
        Some(Code::Ok) | None if error.cancelled => Code::Cancelled,
        Some(Code::Ok) | None if error.frontend_cap.is_some() => Code::Unimplemented,
        Some(Code::Ok) | None => Code::Unknown,
        Some(code) => code,
    }
}

fn as_call_status(status: rpc::Status) -> Status {
    let details = match status.details.is_empty() {
        true => Vec::new(),
        false => status.encode_to_vec(),
    };
    let code = Code::from_i32(status.code);
    Status::with_details(code, status.message, details.into())
}

#[cfg(test)]
mod tests;
