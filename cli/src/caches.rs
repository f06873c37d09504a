//! `--cache-from` and `--cache-to`: caches elsewhere (rows CLI-06, CCL-06).

use std::path::PathBuf;

use lamina_llb::CacheOption;
use lamina_session::LocalSessionBuilder;
use lamina_types::PathError;

use crate::csv;
use crate::csv::CsvError;
use crate::layout;

/// Says why a cache could not be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("{option} {error}")]
    Csv {
        option: &'static str,
        error: CsvError,
    },
    #[error("{option} {text:?}: type is required")]
    NoType { option: &'static str, text: String },
    #[error("{option} {text:?}: {key} is required")]
    Missing {
        option: &'static str,
        text: String,
        key: &'static str,
    },
    #[error(transparent)]
    Io(#[from] PathError),
    #[error(transparent)]
    Layout(#[from] layout::LayoutError),
}

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";

/// What the command line says of caches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caches {
    pub(crate) imports: Vec<CacheOption>,
    pub(crate) exports: Vec<CacheOption>,
    /// Folders that the session serves, by the name under which it does.
    folders: Vec<(String, PathBuf)>,
    /// Folders whose index is written after the build, with the tag.
    written: Vec<(PathBuf, String)>,
    /// Why some caches are not looked in.
    notes: Vec<String>,
}

impl Caches {
    /// Reads both options. A local cache that cannot be looked in is left out, with a note: the first
    /// build of many finds none, and a damaged one is no reason not to build.
    pub(crate) fn parse(from: &[String], to: &[String]) -> Result<Self, CacheError> {
        let mut caches = Self::default();
        for text in from {
            let option = parse(FROM, text)?;
            if option.kind == "local" {
                caches.import_local(option, text)?;
            } else {
                caches.imports.push(option);
            }
        }
        for text in to {
            let option = parse(TO, text)?;
            if option.kind == "local" {
                caches.export_local(&option, text)?;
            }
            caches.exports.push(option);
        }
        Ok(caches)
    }

    fn import_local(&mut self, mut option: CacheOption, text: &str) -> Result<(), CacheError> {
        let folder = folder(FROM, &option, "src", text)?;
        if !option.attrs.contains_key("digest") {
            let tag = option.attrs.get("tag").map_or("latest", String::as_str);
            match layout::tagged(&PathBuf::from(&folder), Some(tag)) {
                Ok(digest) => option.attrs.insert("digest".to_owned(), digest.to_string()),
                Err(reason) => {
                    let note = format!("{FROM} {text:?} is not used: {reason}");
                    self.notes.push(note);
                    return Ok(());
                }
            };
        }
        self.folders.push((folder.clone(), PathBuf::from(folder)));
        self.imports.push(option);
        Ok(())
    }

    fn export_local(&mut self, option: &CacheOption, text: &str) -> Result<(), CacheError> {
        let folder = folder(TO, option, "dest", text)?;
        let tag = option.attrs.get("tag").map_or("latest", String::as_str);
        self.written.push((PathBuf::from(&folder), tag.to_owned()));
        self.folders.push((folder.clone(), PathBuf::from(folder)));
        Ok(())
    }

    /// Returns what the user should know before the build.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets the session serve the folders.
    pub(crate) fn offer(&self, mut builder: LocalSessionBuilder) -> LocalSessionBuilder {
        for (name, folder) in &self.folders {
            builder = builder.cache_dir(name, folder);
        }
        builder
    }

    /// Enters the cache that the exporters report in the indexes of the folders.
    pub(crate) fn finish(&self, manifest: Option<&String>) -> Result<(), CacheError> {
        if let Some(manifest) = manifest {
            for (folder, tag) in &self.written {
                layout::set_tag(folder, tag, manifest)?;
            }
        }
        Ok(())
    }
}

fn folder(
    name: &'static str,
    option: &CacheOption,
    key: &'static str,
    text: &str,
) -> Result<String, CacheError> {
    let folder = option.attrs.get(key).filter(|folder| !folder.is_empty());
    folder.cloned().ok_or_else(|| CacheError::Missing {
        option: name,
        text: text.to_owned(),
        key,
    })
}

fn parse(option: &'static str, text: &str) -> Result<CacheOption, CacheError> {
    if !text.contains('=') {
        return Ok(CacheOption {
            kind: "registry".to_owned(),
            attrs: [("ref".to_owned(), text.to_owned())].into(),
        });
    }
    let pairs = csv::key_values(text).map_err(|error| CacheError::Csv { option, error })?;
    let mut attrs: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
    let kind = attrs.remove("type").filter(|kind| !kind.is_empty());
    let kind = kind.ok_or_else(|| CacheError::NoType {
        option,
        text: text.to_owned(),
    })?;
    if kind == "registry" && attrs.get("ref").is_none_or(String::is_empty) {
        let (text, key) = (text.to_owned(), "ref");
        return Err(CacheError::Missing { option, text, key });
    }
    Ok(CacheOption { kind, attrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_option() {
        let caches = Caches::parse(
            &[
                "app:cache".to_owned(),
                "type=local,src=/no/such/folder".to_owned(),
            ],
            &[
                "type=registry,ref=app:cache,mode=max".to_owned(),
                "type=inline".to_owned(),
            ],
        );
        let caches = caches.expect("valid");
        assert_eq!(
            caches.imports.len(),
            1,
            "a cache that is not there is left out"
        );
        assert_eq!(caches.imports[0].kind, "registry");
        assert_eq!(caches.imports[0].attrs["ref"], "app:cache");
        assert_eq!(caches.exports[0].attrs["mode"], "max");
        assert_eq!(caches.exports[1].kind, "inline");
    }

    #[test]
    fn local_caches_that_cannot_be_used_are_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = format!("type=local,src={}", folder.path().display());
        let note = |from: &str| {
            let caches = Caches::parse(&[from.to_owned()], &[]).expect("no mistake");
            assert!(caches.imports.is_empty(), "{from}");
            caches.notes().concat()
        };
        assert!(note(&from).contains("it has no index.json"));
        std::fs::write(folder.path().join("index.json"), "{").expect("written");
        let damaged = note(&from);
        assert!(damaged.starts_with("--cache-from"), "{damaged}");
        assert!(damaged.contains("malformed index.json"), "{damaged}");
        std::fs::write(
            folder.path().join("index.json"),
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
        .expect("written");
        let untagged = note(&format!("{from},tag=x"));
        assert!(untagged.contains("no image is called \"x\""), "{untagged}");
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            (
                "mode=max",
                "",
                "--cache-from \"mode=max\": type is required",
            ),
            ("type=registry,mode=max", "", "ref is required"),
            ("type=local", "", "src is required"),
            ("", "type=local,src=x", "dest is required"),
            ("", "type=local,dest=\"x", "a quote is not closed"),
        ] {
            let list = |text: &str| Vec::from_iter((!text.is_empty()).then(|| text.to_owned()));
            let message = Caches::parse(&list(from), &list(to))
                .expect_err(from)
                .to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
