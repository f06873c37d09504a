//! What to build, and how it is said on the wire (rows CSOL-01 to CSOL-20).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use lamina_proto::control;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_session::Session;

/// What to build. `session` serves files, secrets and targets.
#[derive(Clone)]
pub struct BuildRequest {
    /// The name of the build; empty = one is made up.
    pub id: String,
    /// A definition, if there is no frontend.
    pub definition: Option<pb::Definition>,
    /// A frontend by name; empty = none.
    pub frontend: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Definitions that it may use by name.
    pub inputs: BTreeMap<String, pb::Definition>,
    /// Exporters: type and attributes.
    pub exports: Vec<(String, BTreeMap<String, String>)>,
    /// Caches to look in.
    pub cache_imports: Vec<(String, BTreeMap<String, String>)>,
    /// Caches to write.
    pub cache_exports: Vec<(String, BTreeMap<String, String>)>,
    /// What to ask of the host.
    pub entitlements: Vec<String>,
    /// Rules on sources.
    pub policy: Option<Policy>,
    /// Not to be remembered.
    pub internal: bool,
    /// Files, secrets, credentials and targets.
    pub session: Arc<dyn Session>,
}

impl BuildRequest {
    /// Starts a request that builds nothing yet.
    #[must_use]
    pub fn new(session: Arc<dyn Session>) -> Self {
        Self {
            id: String::new(),
            definition: None,
            frontend: String::new(),
            options: BTreeMap::new(),
            inputs: BTreeMap::new(),
            exports: Vec::new(),
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
            entitlements: Vec::new(),
            policy: None,
            internal: false,
            session,
        }
    }

    /// Writes the request for a build of this name. The first exporter is said twice, for daemons
    /// that know only one (row CSOL-10).
    pub(crate) fn to_wire(&self, id: &str) -> control::SolveRequest {
        let (exporter_deprecated, exporter_attrs_deprecated) =
            self.exports.first().cloned().unwrap_or_default();
        control::SolveRequest {
            r#ref: id.to_owned(),
            definition: self.definition.clone(),
            exporter_deprecated,
            exporter_attrs_deprecated,
            session: self.session.id().to_owned(),
            frontend: self.frontend.clone(),
            frontend_attrs: self.options.clone(),
            cache: Some(self.caches()),
            entitlements: self.entitlements.clone(),
            frontend_inputs: self.inputs.clone(),
            internal: self.internal,
            source_policy: self.policy.clone(),
            exporters: self.exports.iter().map(exporter).collect(),
            ..control::SolveRequest::default()
        }
    }

    fn caches(&self) -> control::CacheOptions {
        control::CacheOptions {
            exports: self.cache_exports.iter().map(cache).collect(),
            imports: self.cache_imports.iter().map(cache).collect(),
            ..control::CacheOptions::default()
        }
    }

    /// Returns the exporters whose directory shall hold nothing but the result (row ELO-03).
    pub(crate) fn mirrored(&self) -> BTreeSet<usize> {
        let exports = self.exports.iter().enumerate();
        exports
            .filter(|(_, (kind, attrs))| {
                kind == "local" && attrs.get("mode").is_some_and(|mode| mode == "delete")
            })
            .map(|(index, _)| index)
            .collect()
    }
}

fn exporter((kind, attrs): &(String, BTreeMap<String, String>)) -> control::Exporter {
    control::Exporter {
        r#type: kind.clone(),
        attrs: attrs.clone(),
    }
}

fn cache((kind, attrs): &(String, BTreeMap<String, String>)) -> control::CacheOptionsEntry {
    control::CacheOptionsEntry {
        r#type: kind.clone(),
        attrs: attrs.clone(),
    }
}

#[cfg(test)]
mod tests {
    use lamina_session::LocalSession;

    use super::*;

    fn attrs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn both_forms_of_the_exporter_are_filled() {
        let mut request = BuildRequest::new(Arc::new(LocalSession::builder().build()));
        request.exports = vec![
            ("local".to_owned(), attrs(&[("mode", "delete")])),
            ("local".to_owned(), attrs(&[("mode", "copy")])),
            ("tar".to_owned(), attrs(&[("mode", "delete")])),
        ];
        let wire = request.to_wire("b");
        assert_eq!(wire.exporter_deprecated, "local");
        assert_eq!(wire.exporter_attrs_deprecated, attrs(&[("mode", "delete")]));
        assert_eq!(wire.exporters.len(), 3);
        assert_eq!(wire.session, request.session.id());
        assert_eq!(request.mirrored(), BTreeSet::from([0]));
    }
}
