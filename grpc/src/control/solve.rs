//! Solve: a request of the wire becomes one of the engine (section 2.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::ExportRequest;
use lamina_llb::BuildError;
use lamina_llb::EntitlementError;
use lamina_llb::Entitlements;
use lamina_proto::control;
use lamina_types::CancelToken;
use tokio::sync::mpsc;
use tonic::Status;

use super::caches;
use crate::ServerOptions;
use crate::gateway;
use crate::gateway::Builds;
use crate::gateway::ClientFrontend;
use crate::status;

const GATEWAY: &str = "gateway.v0";
const DOCKERFILE: &str = "dockerfile.v0";

/// The newest `CompatibilityVersion`, which 0 means too (row CSOL-19).
const NEWEST_COMPATIBILITY: i64 = 30;
/// Those before it: images would have other media types, which is not done here.
const OLD_COMPATIBILITIES: [i64; 2] = [10, 20];

/// Builds. A dropped call cancels the build, which comes to its end in order (row NET-17).
pub(super) async fn solve(
    options: &ServerOptions,
    builds: &Builds,
    request: control::SolveRequest,
) -> Result<control::SolveResponse, Status> {
    let engine = options.engine.get().await?;
    let request = build_request(options, builds, request);
    let request = request.map_err(|error| status::to_status(&error))?;
    // Watchers follow the build through the engine; this call does not.
    let (events, _) = mpsc::unbounded_channel();
    let built = engine.build(request, events, &CancelToken::new()).await;
    let outcome = built.map_err(|error| status::to_status(&error))?;
    Ok(control::SolveResponse {
        exporter_response: outcome.exporter_response,
    })
}

fn build_request(
    options: &ServerOptions,
    builds: &Builds,
    request: control::SolveRequest,
) -> Result<BuildRequest, BuildError> {
    refuse_missing_features(&request)?;
    let entitlements = entitlements(&request.entitlements)?;
    let caches = request.cache.clone().unwrap_or_default();
    let session = options.sessions.lazy(&request.session);
    let exports = exports(&request);
    let id = request.r#ref.clone();
    let (policy, internal) = (request.source_policy.clone(), request.internal);
    let driver = driver(builds, &request);
    let chooses = request.enable_session_exporter;
    let session_exporters = chooses.then(|| gateway::reference_names(driver.clone()));
    Ok(BuildRequest {
        id,
        exports,
        session_exporters,
        cache_imports: caches::imports(&caches),
        cache_exports: caches::exports(&caches)?,
        policy,
        internal,
        entitlements,
        ..BuildRequest::new(source(driver, request)?, session)
    })
}

/// Returns the client as the frontend of its build, if it is to drive that (row CSOL-03).
fn driver(builds: &Builds, request: &control::SolveRequest) -> Option<Arc<ClientFrontend>> {
    let drives = request.frontend.is_empty() && request.definition.is_none();
    let has_name = !request.r#ref.is_empty();
    (drives && has_name).then(|| Arc::new(ClientFrontend::new(builds.clone(), &request.r#ref)))
}

/// Chooses what makes the result (rows CSOL-02 to CSOL-05).
fn source(
    driver: Option<Arc<ClientFrontend>>,
    request: control::SolveRequest,
) -> Result<BuildSource, BuildError> {
    let definition = request.definition;
    if request.frontend.is_empty() {
        if let Some(definition) = definition {
            return Ok(BuildSource::Definition(definition));
        }
        let unnamed = "a build without definition and frontend needs a ref";
        return Ok(BuildSource::Client {
            frontend: driver.ok_or_else(|| BuildError::new(unnamed))?,
            options: request.frontend_attrs,
            inputs: request.frontend_inputs,
        });
    }
    if definition.is_some_and(|definition| !definition.def.is_empty()) {
        let both = "cannot solve with both Definition and Frontend specified";
        return Err(BuildError::new(both));
    }
    let (name, options) = short_cut(request.frontend, request.frontend_attrs);
    Ok(BuildSource::Frontend {
        name,
        options,
        inputs: request.frontend_inputs,
    })
}

/// Takes the built-in frontend where a gateway is asked for it by name (row CSOL-05).
fn short_cut(
    name: String,
    mut options: BTreeMap<String, String>,
) -> (String, BTreeMap<String, String>) {
    let replaced = options.keys().any(|key| {
        let rest = key.strip_prefix("context:dockerfile.v0");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    let built_in = options.get("source").is_some_and(|name| name == DOCKERFILE);
    if name != GATEWAY || !built_in || replaced {
        return (name, options);
    }
    options.remove("source");
    (DOCKERFILE.to_owned(), options)
}

/// Rows CSOL-09 and CSOL-10.
fn exports(request: &control::SolveRequest) -> Vec<ExportRequest> {
    let given = request.exporters.iter().map(|exporter| ExportRequest {
        kind: exporter.r#type.clone(),
        attrs: exporter.attrs.clone(),
    });
    let mut exports: Vec<ExportRequest> = given.collect();
    if exports.is_empty() && !request.exporter_deprecated.is_empty() {
        exports.push(ExportRequest {
            kind: request.exporter_deprecated.clone(),
            attrs: request.exporter_attrs_deprecated.clone(),
        });
    }
    exports
}

/// Row CSOL-14.
fn entitlements(names: &[String]) -> Result<Entitlements, BuildError> {
    Entitlements::parse(names).map_err(|error| {
        BuildError::new(match error {
            EntitlementError::Unknown(name) => format!("unknown entitlement {name}"),
            other => other.to_string(),
        })
    })
}

/// Refuses what would otherwise be left out silently. None of it has a capability on offer.
fn refuse_missing_features(request: &control::SolveRequest) -> Result<(), BuildError> {
    check_compatibility(request.compatibility_version)?;
    let missing = if request.proxy_network {
        "proxy networks are"
    } else if !request.source_policy_session.is_empty() {
        "source policy sessions are"
    } else if request.frontend_attrs.iter().any(asks_for_attestation) {
        "attestations are"
    } else {
        return Ok(());
    };
    let message = format!("{missing} not supported by this engine");
    Err(BuildError::new(message))
}

/// Row CSOL-19.
fn check_compatibility(version: i64) -> Result<(), BuildError> {
    let hint = match version {
        0 | NEWEST_COMPATIBILITY => return Ok(()),
        old if OLD_COMPATIBILITIES.contains(&old) => {
            ": this engine makes images of the newest version only"
        }
        newer if newer > NEWEST_COMPATIBILITY => ", a newer engine may know it",
        _ => "",
    };
    let message = format!("unsupported compatibility version {version}{hint}");
    Err(BuildError::new(message))
}

/// Prefixes of options that ask for attestations (rows FDF-32, FDF-33).
const ATTESTATIONS: [&str; 2] = ["attest:", "build-arg:BUILDKIT_ATTEST_"];

/// An attestation that is switched off, or that goes nowhere but into an inline cache, is none.
fn asks_for_attestation((key, value): (&String, &String)) -> bool {
    let has = |wanted: &str| value.split(',').any(|attribute| attribute == wanted);
    let asks = ATTESTATIONS.iter().any(|prefix| key.starts_with(prefix));
    asks && !has("disabled=true") && !has("inline-only=true")
}

#[cfg(test)]
mod tests;
