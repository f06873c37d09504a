//! What the program of a frontend is started with (rows FGW-07 to FGW-11).

use std::collections::BTreeMap;

use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::FrontendProcess;
use lamina_llb::WorkerInfo;
use lamina_types::Platform;
use prost::Message as _;
use serde::Serialize;

use super::Program;
use crate::error::FrontendError;
use crate::error::Result;
use crate::instructions::parse_bool;

/// What an image without entrypoint is taken to start with.
const DEFAULT_PROGRAM: &str = "/run";

/// Where the program finds its own definition (row FGW-09).
const METADATA: &str = "/run/config/buildkit/metadata/frontend.bin";

/// The label of programs that need no network (row FGW-10).
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";

/// What clients call the product that lacks a capability.
const PRODUCT: &str = "lamina";

/// A worker, as programs read it: other writers spell the keys in other cases.
#[derive(Serialize)]
struct Worker<'a> {
    id: &'a str,
    labels: &'a BTreeMap<String, String>,
    platforms: &'a [Platform],
}

/// Returns the process of a program: solved, not yet started.
pub(super) async fn process(bridge: &dyn Bridge, program: Program) -> Result<FrontendProcess> {
    let config = program.config.config;
    let metadata = program.definition.encode_to_vec();
    let solved = bridge.solve(program.definition).await?;
    let missing = || BuildError::new("gateway source didn't return default result");
    let mut env = config.env;
    env.extend(variables(bridge)?);
    let label = config.labels.get(NO_NETWORK);
    let or = |text: String, default: &str| match text.is_empty() {
        true => default.to_owned(),
        false => text,
    };
    let args = match config.entrypoint.is_empty() {
        true => vec![DEFAULT_PROGRAM.to_owned()],
        false => config.entrypoint,
    };
    // A program of that name is in the way.
    let has_room = args
        .first()
        .is_some_and(|program| program != DEFAULT_PROGRAM);
    let files = has_room.then(|| (METADATA.to_owned(), metadata));
    Ok(FrontendProcess {
        root: solved.ok_or_else(missing)?,
        args,
        env,
        cwd: or(config.working_dir, "/"),
        user: String::new(),
        no_network: label.and_then(|text| parse_bool(text)) == Some(true),
        files: files.into_iter().collect(),
    })
}

/// Row FGW-08.
fn variables(bridge: &dyn Bridge) -> std::result::Result<Vec<String>, FrontendError> {
    let options = bridge.options().iter().enumerate();
    let options =
        options.map(|(n, (key, value))| format!("BUILDKIT_FRONTEND_OPT_{n}={key}={value}"));
    let mut variables: Vec<String> = options.collect();
    variables.push(format!("BUILDKIT_SESSION_ID={}", bridge.session_id()));
    variables.push(format!(
        "BUILDKIT_WORKERS={}",
        workers(bridge.worker(), &bridge.worker_platforms())?
    ));
    variables.push(format!("BUILDKIT_EXPORTEDPRODUCT={PRODUCT}"));
    Ok(variables)
}

fn workers(
    worker: &WorkerInfo,
    platforms: &[Platform],
) -> std::result::Result<String, FrontendError> {
    let list = [Worker {
        id: &worker.id,
        labels: &worker.labels,
        platforms,
    }];
    serde_json::to_string(&list).map_err(|error| FrontendError::EncodeConfig {
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_in_the_spelling_of_images() {
        let worker = WorkerInfo {
            id: "w".to_owned(),
            labels: [("k".to_owned(), "v".to_owned())].into(),
        };
        let platforms = [Platform::new("linux", "arm", "v7")];
        let expected = r#"[{"id":"w","labels":{"k":"v"},"platforms":[{"os":"linux","architecture":"arm","variant":"v7"}]}]"#;
        assert_eq!(workers(&worker, &platforms).expect("JSON"), expected);
    }
}
