//! Results on the wire and back (rows GW-16 to GW-22, GW-31 to GW-33).

use std::collections::BTreeMap;

use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Reference;
use lamina_llb::ResultRefs;
use lamina_proto::gateway;
use lamina_proto::gateway::result;
use lamina_proto::pb;

use super::DrivenBuild;
use crate::status;

impl DrivenBuild {
    /// Gives out the references of a result; `arrays`: with their definitions (row GW-17).
    pub(super) fn give_out(&self, result: BuildResult, arrays: bool) -> gateway::Result {
        let refs = match (&result.refs, arrays) {
            (ResultRefs::Single(one), true) => result::Result::Ref(self.to_ref(one.as_ref())),
            (ResultRefs::Single(one), false) => {
                result::Result::RefDeprecated(self.references.add(one.as_ref()))
            }
            (ResultRefs::Map(map), true) => {
                let refs = map.iter();
                let refs = refs.map(|(key, one)| (key.clone(), self.to_ref(one.as_ref())));
                result::Result::Refs(gateway::RefMap {
                    refs: refs.collect(),
                })
            }
            (ResultRefs::Map(map), false) => {
                let ids = map.iter();
                let ids = ids.map(|(key, one)| (key.clone(), self.references.add(one.as_ref())));
                result::Result::RefsDeprecated(gateway::RefMapDeprecated {
                    refs: ids.collect(),
                })
            }
        };
        gateway::Result {
            result: Some(refs),
            metadata: result.metadata,
            attestations: BTreeMap::new(),
        }
    }

    fn to_ref(&self, reference: Option<&Reference>) -> gateway::Ref {
        gateway::Ref {
            id: self.references.add(reference),
            def: reference.map(|reference| readable(reference.definition().clone())),
        }
    }

    /// Takes what the driver returns: exactly one of result and error (row GW-30).
    pub(super) fn returned(
        &self,
        request: gateway::ReturnRequest,
    ) -> Result<gateway::ReturnResponse, BuildError> {
        let neither = || BuildError::new("gateway return must be either result or err");
        let outcome = match (request.error, request.result) {
            (Some(error), _) => Err(status::from_rpc(error).ok_or_else(neither)?),
            (None, Some(result)) => Ok(self.read_result(result)?),
            (None, None) => return Err(neither()),
        };
        self.outcome().set(outcome)?;
        Ok(gateway::ReturnResponse {})
    }

    /// Reads a result; neither reference nor references is scratch (row GW-31).
    fn read_result(&self, result: gateway::Result) -> Result<BuildResult, BuildError> {
        if !result.attestations.is_empty() {
            let missing = "attestations are not supported by this engine";
            return Err(BuildError::new(missing));
        }
        let single = |id: &str| self.references.returned(id).map(ResultRefs::Single);
        let refs = match &result.result {
            None => ResultRefs::default(),
            Some(result::Result::RefDeprecated(id)) => single(id)?,
            Some(result::Result::Ref(one)) => single(&one.id)?,
            Some(result::Result::RefsDeprecated(map)) => self.map_of(map.refs.iter())?,
            Some(result::Result::Refs(map)) => {
                self.map_of(map.refs.iter().map(|(key, one)| (key, &one.id)))?
            }
        };
        Ok(BuildResult {
            refs,
            metadata: result.metadata,
        })
    }

    fn map_of<'a>(
        &self,
        ids: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<ResultRefs, BuildError> {
        let refs = ids.map(|(key, id)| Ok((key.clone(), self.references.returned(id)?)));
        let refs: BTreeMap<_, _> = refs.collect::<Result<_, BuildError>>()?;
        Ok(match refs.is_empty() {
            true => ResultRefs::default(),
            false => ResultRefs::Map(refs),
        })
    }
}

/// Leaves out what says nothing: an entry of a map whose value is empty goes over the wire without
/// a value, which Go's clients take for a null pointer and fail on. Their own definitions have such
/// entries.
fn readable(mut definition: pb::Definition) -> pb::Definition {
    let empty = pb::OpMetadata::default();
    definition.metadata.retain(|_, metadata| *metadata != empty);
    if let Some(source) = &mut definition.source {
        let said = |locations: &pb::Locations| !locations.locations.is_empty();
        source.locations.retain(|_, locations| said(locations));
        for info in &mut source.infos {
            // As deep as messages may nest.
            info.definition = info.definition.take().map(readable);
        }
    }
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(definition: Option<pb::Definition>) -> pb::Definition {
        let said = pb::Locations {
            locations: vec![pb::Location::default()],
        };
        let locations = [("silent", pb::Locations::default()), ("said", said)];
        let info = pb::SourceInfo {
            definition,
            ..pb::SourceInfo::default()
        };
        pb::Definition {
            metadata: [("op".to_owned(), pb::OpMetadata::default())].into(),
            source: Some(pb::Source {
                locations: locations.map(|(key, one)| (key.to_owned(), one)).into(),
                infos: vec![info],
            }),
            ..pb::Definition::default()
        }
    }

    #[test]
    fn entries_that_say_nothing_are_left_out_at_every_depth() {
        let outer = readable(nested(Some(nested(None))));
        let inner = outer
            .source
            .as_ref()
            .and_then(|source| source.infos[0].definition.clone());
        for definition in [outer, inner.expect("a definition")] {
            assert!(definition.metadata.is_empty());
            let source = definition.source.expect("a source map");
            assert_eq!(source.locations.keys().collect::<Vec<_>>(), ["said"]);
        }
    }
}
