//! The `index.json` of a layout that a user has: images and caches by tag (rows CEX-06, CIM-02).
//!
//! Unlike the one of a [`ContentStore`](crate::ContentStore), others write it too: it is read anew
//! each time, what is not understood stays in it, and it is replaced as a whole.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;

use lamina_types::IoContext;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::json;

use crate::ContentError;
use crate::Descriptor;
use crate::Index;
use crate::MAX_METADATA_BYTES;
use crate::OCI_LAYOUT;
use crate::REF_NAME;
use crate::media_type;
use crate::serde_go::to_go_json;

/// Returns what the layout in `dir` has under `tag`; `None` also if there is no layout.
///
/// # Errors
/// If the index cannot be read or is none.
pub fn tagged(dir: &Path, tag: &str) -> Result<Option<Descriptor>, ContentError> {
    let path = dir.join("index.json");
    let Some(index) = read(&path)? else {
        return Ok(None);
    };
    let index: Index = serde_json::from_value(index).map_err(|source| malformed(&path, source))?;
    let mut manifests = index.manifests.into_iter();
    Ok(manifests.find(|manifest| {
        manifest
            .annotations
            .get(REF_NAME)
            .is_some_and(|name| name == tag)
    }))
}

/// Puts `manifest` under `tag` into the layout in `dir`, in place of what had that tag. Everything
/// else in the index stays to the letter.
///
/// # Errors
/// If the index cannot be read or replaced, or is none; the old one stays then.
pub fn set_tag(dir: &Path, tag: &str, mut manifest: Descriptor) -> Result<(), ContentError> {
    let path = dir.join("index.json");
    let annotations = &mut manifest.annotations;
    annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    let manifest = serde_json::to_value(&manifest).map_err(|source| malformed(&path, source))?;
    let mut index = read(&path)?.unwrap_or_else(empty_index);
    let manifests = index.get_mut("manifests").and_then(Value::as_array_mut);
    let no_list = || serde_json::Error::custom("it has no list of manifests");
    let manifests = manifests.ok_or_else(|| malformed(&path, no_list()))?;
    manifests.retain(|known| known["annotations"][REF_NAME] != tag);
    manifests.push(manifest);
    let bytes = to_go_json(&index).map_err(|source| malformed(&path, source))?;
    replace(&path, &bytes)?;
    let marker = dir.join("oci-layout");
    if marker.exists() {
        return Ok(());
    }
    replace(&marker, OCI_LAYOUT.as_bytes())
}

fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []})
}

fn malformed(path: &Path, source: serde_json::Error) -> ContentError {
    ContentError::Json {
        what: path.display().to_string(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<Value>, ContentError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.at(path.display())?,
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_METADATA_BYTES);
    limited.read_to_end(&mut bytes).at(path.display())?;
    let index = serde_json::from_slice(&bytes).map_err(|source| malformed(path, source))?;
    Ok(Some(index))
}

/// Writes through a temporary name, so that the file is there whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ContentError> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The error that brought us here is the one to report.
        drop(fs::remove_file(&temporary));
    }
    Ok(written.at(path.display())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_found_and_moved_and_others_stay() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(
            tagged(&dir.path().join("none"), "x").expect("is empty"),
            None
        );
        let manifest = |data: &[u8]| Descriptor::of(media_type::OCI_MANIFEST, data);
        for (tag, data) in [("a", b"1"), ("b", b"2"), ("a", b"3")] {
            set_tag(dir.path(), tag, manifest(data)).expect("writes");
        }
        let digest = |tag: &str| {
            let found = tagged(dir.path(), tag).expect("reads");
            found.map(|found| found.digest)
        };
        assert_eq!(digest("a"), Some(manifest(b"3").digest));
        assert_eq!(digest("b"), Some(manifest(b"2").digest));
        assert_eq!(digest("c"), None);
        let items = fs::read_dir(dir.path()).expect("lists").count();
        assert_eq!(items, 2, "nothing but the index and the marker is left");
    }

    #[test]
    fn what_others_wrote_stays_to_the_letter() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("index.json");
        let theirs = r#"{"digest":"none of ours","x":[1],"annotations":null}"#;
        let index = format!(r#"{{"manifests":[{theirs}],"schemaVersion":2,"y":"z"}}"#);
        fs::write(&path, index).expect("writes");
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, b"x");
        set_tag(dir.path(), "a", manifest).expect("writes");
        let text = fs::read_to_string(&path).expect("reads");
        let begin = format!(r#"{{"manifests":[{theirs},{{"mediaType""#);
        assert!(text.starts_with(&begin), "{text}");
        assert!(text.ends_with(r#"],"schemaVersion":2,"y":"z"}"#), "{text}");
    }

    #[test]
    fn what_is_no_index_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("index.json");
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, b"x");
        for precious in ["precious", "[]", "{}", r#"{"manifests":3}"#] {
            fs::write(&path, precious).expect("writes");
            assert!(set_tag(dir.path(), "a", manifest.clone()).is_err());
            assert_eq!(fs::read(&path).expect("reads"), precious.as_bytes());
        }
    }
}
