//! Devices of the host (rows CFG-13, FLG-11).

use std::path::PathBuf;

use lamina_executor::CdiDevices;

use crate::config;

/// Puts flags over the file. Disabled, there are no folders with descriptions.
pub(super) fn merge(
    disabled: Option<bool>,
    spec_dirs: Vec<PathBuf>,
    file: config::Cdi,
) -> CdiDevices {
    if disabled.or(file.disabled).unwrap_or_default() {
        return CdiDevices::default();
    }
    let given = [spec_dirs, file.spec_dirs];
    let dirs = given.into_iter().find(|dirs| !dirs.is_empty());
    CdiDevices {
        dirs: dirs.unwrap_or_else(CdiDevices::usual_dirs),
        auto_allowed: file.auto_allowed,
    }
}

/// Returns what builds may ask for as long as devices are known: any, and clients have to grant each.
pub(super) fn entitlement(devices: &CdiDevices) -> Option<String> {
    (!devices.dirs.is_empty()).then(|| "device".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_over_the_file_and_usual_folders_below() {
        let file = |disabled, dirs: &[&str]| config::Cdi {
            disabled,
            spec_dirs: dirs.iter().map(PathBuf::from).collect(),
            auto_allowed: Vec::new(),
        };
        let usual = CdiDevices::usual_dirs();
        for (name, flag, dirs, file, expected) in [
            ("nothing", None, vec![], file(None, &[]), usual.clone()),
            ("file", None, vec![], file(None, &["/f"]), vec!["/f".into()]),
            (
                "flag",
                None,
                vec!["/a".into()],
                file(None, &["/f"]),
                vec!["/a".into()],
            ),
            ("disabled", None, vec![], file(Some(true), &["/f"]), vec![]),
            ("enabled", Some(false), vec![], file(Some(true), &[]), usual),
            (
                "switched off",
                Some(true),
                vec!["/a".into()],
                file(None, &[]),
                vec![],
            ),
        ] {
            let merged = merge(flag, dirs, file);
            assert_eq!(merged.dirs, expected, "{name}");
            assert_eq!(
                entitlement(&merged).is_some(),
                !expected.is_empty(),
                "{name}"
            );
        }
    }
}
