//! Solve: definitions and nested frontends (rows GW-14 to GW-22).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::CacheOption;
use lamina_llb::FrontendRequest;
use lamina_llb::ResultRefs;
use lamina_llb::SolveOptions;
use lamina_proto::gateway;
use lamina_proto::gateway::result;

use super::DrivenBuild;

impl DrivenBuild {
    /// Solves lazily, unless told to evaluate.
    pub(super) async fn solve(
        &self,
        request: gateway::SolveRequest,
    ) -> Result<gateway::SolveResponse, BuildError> {
        let form = Form::of(&request);
        let attributes = request.exporter_attr.clone();
        let result = self.solved(request).await?;
        // Before anything runs for a result that the client could not take.
        let is_map = matches!(&result.refs, ResultRefs::Map(map) if !map.is_empty());
        if is_map && !form.result {
            return Err(BuildError::new("solve did not return default result"));
        }
        if form.evaluate {
            self.evaluate_all(&result).await?;
        }
        if form.is_final {
            self.finish(result.clone(), &attributes)?;
        }
        let wire = self.give_out(result, form.arrays);
        let old = match (&wire.result, form.result) {
            (_, true) => String::new(),
            (Some(result::Result::Ref(one)), false) => one.id.clone(),
            (Some(result::Result::RefDeprecated(id)), false) => id.clone(),
            (_, false) => String::new(),
        };
        Ok(gateway::SolveResponse {
            r#ref: old,
            result: Some(wire),
        })
    }

    async fn solved(&self, request: gateway::SolveRequest) -> Result<BuildResult, BuildError> {
        let solve = SolveOptions {
            cache_imports: request.cache_imports.into_iter().map(import).collect(),
            policies: request.source_policies,
        };
        let definition = request.definition.unwrap_or_default();
        if request.frontend.is_empty() {
            let reference = self.bridge.solve_with(definition, solve).await?;
            return Ok(BuildResult {
                refs: ResultRefs::Single(reference),
                metadata: BTreeMap::new(),
            });
        }
        if !definition.def.is_empty() {
            let both = "cannot solve with both Definition and Frontend specified";
            return Err(BuildError::new(both));
        }
        let request = FrontendRequest {
            name: request.frontend,
            options: request.frontend_opt,
            inputs: request.frontend_inputs,
            solve,
        };
        self.bridge.run_frontend(request).await
    }

    /// Row GW-20.
    async fn evaluate_all(&self, result: &BuildResult) -> Result<(), BuildError> {
        let references = result.refs.iter().filter_map(|(_, reference)| reference);
        let evaluated = references.map(|reference| self.bridge.evaluate(reference));
        try_join_all(evaluated).await.map(drop)
    }

    /// Takes this result for the one that is returned, as old clients do it (row GW-18).
    fn finish(&self, mut result: BuildResult, attributes: &[u8]) -> Result<(), BuildError> {
        let mut metadata = BTreeMap::new();
        if !attributes.is_empty() {
            let wrong = |error| BuildError::new(format!("invalid exporter attributes: {error}"));
            let texts: BTreeMap<String, Option<String>> =
                serde_json::from_slice(attributes).map_err(wrong)?;
            for (key, text) in texts {
                let wrong = |error| BuildError::new(format!("invalid value of {key}: {error}"));
                let value = STANDARD.decode(text.unwrap_or_default()).map_err(wrong)?;
                metadata.insert(key, value);
            }
        }
        metadata.append(&mut result.metadata);
        result.metadata = metadata;
        self.outcome().set(Ok(result))
    }
}

/// What a client wants of the answer.
#[derive(Clone, Copy)]
struct Form {
    /// Row GW-16.
    result: bool,
    /// Row GW-17.
    arrays: bool,
    /// Row GW-18.
    is_final: bool,
    /// Row GW-20.
    evaluate: bool,
}

impl Form {
    fn of(request: &gateway::SolveRequest) -> Self {
        Self {
            result: request.allow_result_return,
            arrays: request.allow_result_array_ref,
            is_final: request.r#final,
            evaluate: request.evaluate,
        }
    }
}

fn import(entry: gateway::CacheOptionsEntry) -> CacheOption {
    CacheOption {
        kind: entry.r#type,
        attrs: entry.attrs,
    }
}
