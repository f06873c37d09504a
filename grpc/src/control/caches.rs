//! Cache options of a build: the deprecated forms, and what is refused (rows CSOL-11 to CSOL-13).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use lamina_llb::BuildError;
use lamina_llb::CacheOption;
use lamina_proto::control::CacheOptions;
use lamina_proto::control::CacheOptionsEntry;

/// The cache that old clients mean.
const REGISTRY: &str = "registry";
const INLINE: &str = "inline";

/// Returns caches to look in.
pub(super) fn imports(options: &CacheOptions) -> Vec<CacheOption> {
    let deprecated = options.import_refs_deprecated.iter();
    let deprecated = deprecated.map(|reference| registry(BTreeMap::new(), reference));
    options
        .imports
        .iter()
        .map(option)
        .chain(deprecated)
        .collect()
}

/// Returns caches to write; `inline` counts once.
///
/// # Errors
/// If one is there twice.
pub(super) fn exports(options: &CacheOptions) -> Result<Vec<CacheOption>, BuildError> {
    let mut all: Vec<CacheOption> = options.exports.iter().map(option).collect();
    if !options.export_ref_deprecated.is_empty() {
        let attrs = options.export_attrs_deprecated.clone();
        all.push(registry(attrs, &options.export_ref_deprecated));
    }
    let mut exports: Vec<CacheOption> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for export in all {
        if export.kind == INLINE && exports.iter().any(|other| other.kind == INLINE) {
            continue;
        }
        if !seen.insert(identity(&export)) {
            twice.insert(export.kind.clone());
        }
        exports.push(export);
    }
    if twice.is_empty() {
        return Ok(exports);
    }
    let types: Vec<String> = twice.into_iter().collect();
    let message = format!("duplicate cache exports [{}]", types.join(" "));
    Err(BuildError::new(message))
}

/// Returns what two exports may not have in common: the reference in a registry, else all of it.
fn identity(export: &CacheOption) -> CacheOption {
    match export.attrs.get("ref").filter(|text| !text.is_empty()) {
        Some(reference) if export.kind == REGISTRY => registry(BTreeMap::new(), reference),
        _ => export.clone(),
    }
}

fn registry(mut attrs: BTreeMap<String, String>, reference: &str) -> CacheOption {
    attrs.insert("ref".to_owned(), reference.to_owned());
    CacheOption {
        kind: REGISTRY.to_owned(),
        attrs,
    }
}

fn option(entry: &CacheOptionsEntry) -> CacheOption {
    CacheOption {
        kind: entry.r#type.clone(),
        attrs: entry.attrs.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, attrs: &[(&str, &str)]) -> CacheOptionsEntry {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        CacheOptionsEntry {
            r#type: kind.to_owned(),
            attrs: attrs.iter().map(pair).collect(),
        }
    }

    fn checked(exports: Vec<CacheOptionsEntry>) -> Result<usize, String> {
        let options = CacheOptions {
            exports,
            ..CacheOptions::default()
        };
        let exports = super::exports(&options);
        exports
            .map(|exports| exports.len())
            .map_err(|error| error.message)
    }

    #[test]
    fn duplicates_are_refused_by_type() {
        let registry = |reference, mode| entry("registry", &[("ref", reference), ("mode", mode)]);
        for (name, given, expected) in [
            ("none", vec![], Ok(0)),
            (
                "inline counts once",
                vec![entry("inline", &[]), entry("inline", &[("a", "b")])],
                Ok(1),
            ),
            (
                "two places",
                vec![registry("a", "max"), registry("b", "max")],
                Ok(2),
            ),
            (
                "one place, two modes",
                vec![registry("a", "max"), registry("a", "min")],
                Err("duplicate cache exports [registry]"),
            ),
            (
                "equal folders",
                vec![
                    entry("local", &[("dest", "d")]),
                    entry("local", &[("dest", "d")]),
                ],
                Err("duplicate cache exports [local]"),
            ),
            (
                "other folders",
                vec![
                    entry("local", &[("dest", "d")]),
                    entry("local", &[("dest", "e")]),
                ],
                Ok(2),
            ),
        ] {
            assert_eq!(checked(given), expected.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn deprecated_forms_mean_registries() {
        let options = CacheOptions {
            export_ref_deprecated: "h/a".to_owned(),
            export_attrs_deprecated: [("mode".to_owned(), "max".to_owned())].into(),
            import_refs_deprecated: vec!["h/b".to_owned()],
            ..CacheOptions::default()
        };
        let exports = exports(&options).expect("one");
        let attrs = [("mode", "max"), ("ref", "h/a")];
        assert_eq!(exports, [option(&entry("registry", &attrs))]);
        let expected = [option(&entry("registry", &[("ref", "h/b")]))];
        assert_eq!(imports(&options), expected);
    }
}
