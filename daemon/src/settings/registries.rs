//! How registries are reached (row CFG-11). Plain http towards this machine needs no key.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use lamina_registry::HostConfig;
use lamina_registry::KeyPair;
use lamina_registry::RegistryConfig;
use lamina_types::IoContext as _;
use lamina_types::PathError;

use crate::config::Registry;

/// Converts all sections.
pub(super) fn convert(
    sections: BTreeMap<String, Registry>,
    notes: &mut Vec<String>,
) -> Result<RegistryConfig, PathError> {
    let mut config = RegistryConfig::default();
    for (host, mut section) in sections {
        for folder in std::mem::take(&mut section.tls_folders) {
            scan(&folder, &mut section)?;
        }
        if section.key_pairs.len() > 1 {
            notes.push(format!(
                "registry {host:?}: only the first of {} client certificates is used",
                section.key_pairs.len()
            ));
        }
        let settings = HostConfig {
            mirrors: section.mirrors,
            http: section.http,
            insecure: section.insecure,
            ca: section.ca,
            key_pair: section.key_pairs.into_iter().next().map(key_pair),
        };
        config.hosts.insert(host, settings);
    }
    Ok(config)
}

fn key_pair((certificate, key): (PathBuf, PathBuf)) -> KeyPair {
    KeyPair { certificate, key }
}

/// Adds what a folder holds: `NAME.crt` are authorities, `NAME.cert` with `NAME.key` client
/// certificates. A folder that cannot be seen holds nothing.
fn scan(folder: &Path, section: &mut Registry) -> Result<(), PathError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_unseen(&error) => return Ok(()),
        Err(error) => return Err(error).at(folder.display()),
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.at(folder.display())?.path());
    }
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => section.ca.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                section.key_pairs.push((file, key));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_unseen(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_hold_certificates() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.crt", "a.crt", "c.cert", "c.key", "readme"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        let section = Registry {
            tls_folders: vec![folder.path().to_owned(), "/no/such/folder".into()],
            mirrors: vec!["localhost:5000".to_owned()],
            ..Registry::default()
        };
        let mut notes = Vec::new();
        let sections = BTreeMap::from([("h".to_owned(), section)]);
        let config = convert(sections, &mut notes).expect("converted");
        let host = &config.hosts["h"];
        assert_eq!(
            host.ca,
            [folder.path().join("a.crt"), folder.path().join("b.crt")]
        );
        let pair = host.key_pair.as_ref().expect("a pair");
        assert_eq!(pair.certificate, folder.path().join("c.cert"));
        assert_eq!(pair.key, folder.path().join("c.key"));
        assert_eq!(host.mirrors, ["localhost:5000"]);
        assert_eq!(notes, [""; 0]);
    }
}
