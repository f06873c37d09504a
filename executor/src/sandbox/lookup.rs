//! Finding the program (row EXC-01), with the errors of the runtimes that users know.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// Finds `name` as a shell would: a name with a slash is taken as it is, others are looked up in
/// the PATH of `env`. Runs inside the step's root.
pub(super) fn program(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match check(&path) {
            Ok(()) => Ok(path),
            Err(Unusable::Missing) => Err(format!(
                "exec: {name:?}: stat {name}: no such file or directory"
            )),
            Err(Unusable::Directory) => Err(format!("exec: {name:?}: is a directory")),
            Err(Unusable::Refused) => Err(format!("exec: {name:?}: permission denied")),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or_default();
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|candidate| !name.is_empty() && check(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

enum Unusable {
    Missing,
    Directory,
    Refused,
}

fn check(path: &Path) -> Result<(), Unusable> {
    let Ok(metadata) = path.metadata() else {
        return Err(Unusable::Missing);
    };
    if metadata.is_dir() {
        Err(Unusable::Directory)
    } else if metadata.mode() & 0o111 == 0 {
        Err(Unusable::Refused)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_explained() {
        let with_path = |path: &str| vec![format!("PATH={path}")];
        for (name, program_name, path, expected) in [
            ("in path", "sh", "/nowhere:/bin", Ok("/bin/sh")),
            ("absolute", "/bin/sh", "", Ok("/bin/sh")),
            (
                "missing",
                "nosuchprog",
                "/bin",
                Err("exec: \"nosuchprog\": executable file not found in $PATH"),
            ),
            (
                "empty",
                "",
                "/bin",
                Err("exec: \"\": executable file not found in $PATH"),
            ),
            (
                "missing absolute",
                "/no/such",
                "/bin",
                Err("exec: \"/no/such\": stat /no/such: no such file or directory"),
            ),
            (
                "directory",
                "/bin/",
                "/bin",
                Err("exec: \"/bin/\": is a directory"),
            ),
            (
                "not executable",
                "/etc/passwd",
                "/bin",
                Err("exec: \"/etc/passwd\": permission denied"),
            ),
        ] {
            let found = program(program_name, &with_path(path));
            let expected = expected.map(PathBuf::from).map_err(str::to_owned);
            assert_eq!(found, expected, "{name}");
        }
    }
}
