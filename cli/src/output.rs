//! `--output`: where results go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::csv;
use crate::csv::CsvError;

/// One `--output`, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The exporter: `local`, `tar`, `oci`, `docker`, `image`.
    pub(crate) kind: String,
    /// What the exporter is told; without `type` and `dest`.
    pub(crate) attrs: BTreeMap<String, String>,
    /// The file or directory of the user.
    pub(crate) dest: Destination,
}

/// Where an exporter writes on the user's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Nothing of the user's is written.
    None,
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
}

/// Says why an output could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("--output {0}")]
    Csv(#[from] CsvError),
    #[error("--output {text:?}: type is required (local, tar, oci, docker, image)")]
    NoType { text: String },
    #[error(
        "--output {text:?}: unknown type {kind:?}, expected local, tar, oci, docker, image or registry"
    )]
    UnknownType { text: String, kind: String },
    #[error("--output {text:?}: dest is required for type={kind}")]
    NoDestination { text: String, kind: String },
    #[error("--output {text:?}: type={kind} takes no dest")]
    NeedlessDestination { text: String, kind: String },
    #[error(
        "--output {text:?}: will not write an archive to a terminal; add dest=FILE, or dest=- with a redirection"
    )]
    Terminal { text: String },
    #[error("--output {text:?}: unknown key \"dst\", expected dest")]
    MisspeltDestination { text: String },
    #[error(
        "--output {path:?} is a file, and type={kind} writes a directory; name another dest, or use type=tar,dest=FILE"
    )]
    NotADirectory { path: PathBuf, kind: String },
    #[error("--output {path:?} is a directory, and type={kind} writes a file; name a file in dest")]
    IsADirectory { path: PathBuf, kind: String },
    #[error("only one output may write to standard output")]
    TwoOnStdout,
}

impl Output {
    /// Reads `-o DIR`, `-o -` and `-o type=..,dest=..` (rows CLI-04, EOT-03).
    ///
    /// `stdout_is_terminal` guards against archives on a terminal.
    pub(crate) fn parse(text: &str, stdout_is_terminal: bool) -> Result<Self, OutputError> {
        if text == "-" {
            return Self::with_dest("tar", BTreeMap::new(), Some("-"), text, stdout_is_terminal);
        }
        if !text.contains('=') {
            return Self::with_dest(
                "local",
                BTreeMap::new(),
                Some(text),
                text,
                stdout_is_terminal,
            );
        }
        let mut attrs: BTreeMap<String, String> = csv::key_values(text)?.into_iter().collect();
        let kind = attrs.remove("type");
        let dest = attrs.remove("dest");
        // Other keys are the exporter's. This one is what mounts and other options call it.
        if attrs.contains_key("dst") {
            let text = text.to_owned();
            return Err(OutputError::MisspeltDestination { text });
        }
        let kind = match kind.as_deref() {
            None | Some("") => {
                return Err(OutputError::NoType {
                    text: text.to_owned(),
                });
            }
            Some("registry") => {
                attrs.insert("push".to_owned(), "true".to_owned());
                "image".to_owned()
            }
            Some(kind) => kind.to_owned(),
        };
        Self::with_dest(&kind, attrs, dest.as_deref(), text, stdout_is_terminal)
    }

    fn with_dest(
        kind: &str,
        attrs: BTreeMap<String, String>,
        dest: Option<&str>,
        text: &str,
        stdout_is_terminal: bool,
    ) -> Result<Self, OutputError> {
        let text = text.to_owned();
        let kind = kind.to_owned();
        let dest = match (kind.as_str(), dest) {
            ("local", Some(dest)) if !dest.is_empty() && dest != "-" => {
                Destination::Directory(dest.into())
            }
            ("local", _) => return Err(OutputError::NoDestination { text, kind }),
            ("tar" | "oci" | "docker", None | Some("" | "-")) if stdout_is_terminal => {
                return Err(OutputError::Terminal { text });
            }
            ("tar" | "oci" | "docker", None | Some("" | "-")) => Destination::Stdout,
            ("tar" | "oci" | "docker", Some(dest)) => Destination::File(dest.into()),
            ("image", None) => Destination::None,
            ("image", Some(_)) => return Err(OutputError::NeedlessDestination { text, kind }),
            _ => return Err(OutputError::UnknownType { text, kind }),
        };
        Ok(Self { kind, attrs, dest })
    }

    /// Checks that what is at the destination already can take the result, so that nobody waits for a
    /// build whose result then goes nowhere.
    pub(crate) fn check_destination(&self) -> Result<(), OutputError> {
        let found = |path: &PathBuf| std::fs::metadata(path).ok();
        let kind = || self.kind.clone();
        match &self.dest {
            Destination::Directory(path) if found(path).is_some_and(|found| !found.is_dir()) => {
                let (path, kind) = (path.clone(), kind());
                Err(OutputError::NotADirectory { path, kind })
            }
            Destination::File(path) if found(path).is_some_and(|found| found.is_dir()) => {
                let (path, kind) = (path.clone(), kind());
                Err(OutputError::IsADirectory { path, kind })
            }
            _ => Ok(()),
        }
    }

    /// Reads all outputs of a command line together.
    pub(crate) fn parse_all(
        texts: &[String],
        stdout_is_terminal: bool,
    ) -> Result<Vec<Self>, OutputError> {
        let outputs = texts
            .iter()
            .map(|text| Self::parse(text, stdout_is_terminal))
            .collect::<Result<Vec<_>, _>>()?;
        let on_stdout = outputs
            .iter()
            .filter(|output| output.dest == Destination::Stdout);
        if on_stdout.count() > 1 {
            return Err(OutputError::TwoOnStdout);
        }
        Ok(outputs)
    }
}

/// Applies `--tag` and `--push` to the outputs: names go to image outputs that have none, and
/// without one an image is made for them.
pub(crate) fn with_names(mut outputs: Vec<Output>, tags: &[String], push: bool) -> Vec<Output> {
    let takes_name = |output: &Output| matches!(output.kind.as_str(), "image" | "oci" | "docker");
    let is_image = |output: &Output| output.kind == "image";
    let wants_image = push && !outputs.iter().any(is_image);
    if wants_image || (!tags.is_empty() && !outputs.iter().any(takes_name)) {
        outputs.push(Output {
            kind: "image".to_owned(),
            attrs: BTreeMap::new(),
            dest: Destination::None,
        });
    }
    for output in outputs.iter_mut().filter(|output| takes_name(output)) {
        if !tags.is_empty() {
            output
                .attrs
                .entry("name".to_owned())
                .or_insert_with(|| tags.join(","));
        }
        if push && output.kind == "image" {
            output.attrs.insert("push".to_owned(), "true".to_owned());
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(kind: &str, attrs: &[(&str, &str)], dest: Destination) -> Output {
        let attrs = attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Output {
            kind: kind.to_owned(),
            attrs,
            dest,
        }
    }

    #[test]
    fn forms_of_the_option() {
        for (text, expected) in [
            (
                "out",
                output("local", &[], Destination::Directory("out".into())),
            ),
            ("-", output("tar", &[], Destination::Stdout)),
            ("type=tar,dest=-", output("tar", &[], Destination::Stdout)),
            (
                "type=oci,dest=x.tar",
                output("oci", &[], Destination::File("x.tar".into())),
            ),
            (
                "type=registry,name=localhost:5000/a",
                output(
                    "image",
                    &[("name", "localhost:5000/a"), ("push", "true")],
                    Destination::None,
                ),
            ),
        ] {
            assert_eq!(Output::parse(text, false), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("dest=x", "type is required"),
            ("type=zip,dest=x", "unknown type \"zip\""),
            ("type=local", "dest is required"),
            ("type=image,dest=x", "takes no dest"),
            ("type=tar,dst=x", "unknown key \"dst\", expected dest"),
            ("type=tar", "will not write an archive to a terminal"),
        ] {
            let message = Output::parse(text, true).expect_err(text).to_string();
            assert!(message.contains(part), "{message}");
        }
        let twice = ["-".to_owned(), "type=oci".to_owned()];
        assert_eq!(
            Output::parse_all(&twice, false),
            Err(OutputError::TwoOnStdout)
        );
    }

    #[test]
    fn tags_make_an_image() {
        let tags = ["a".to_owned(), "b".to_owned()];
        let made = with_names(Vec::new(), &tags, true);
        let expected = output(
            "image",
            &[("name", "a,b"), ("push", "true")],
            Destination::None,
        );
        assert_eq!(made, [expected]);
        let local = output("local", &[], Destination::Directory("x".into()));
        assert_eq!(with_names(vec![local.clone()], &[], false), [local]);
        let oci = output("oci", &[], Destination::Stdout);
        assert_eq!(with_names(vec![oci], &tags, false)[0].attrs["name"], "a,b");
    }

    #[test]
    fn destinations_of_the_wrong_kind_are_refused_before_the_build() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, b"").expect("written");
        let check = |text: String| {
            let output = Output::parse(&text, false).expect("valid");
            output
                .check_destination()
                .map_err(|error| error.to_string())
        };
        let (file, folder) = (file.display(), folder.path().display());
        assert_eq!(
            check(file.to_string()),
            Err(format!(
                "--output \"{file}\" is a file, and type=local writes a directory; name another dest, or \
                 use type=tar,dest=FILE"
            ))
        );
        assert_eq!(
            check(format!("type=tar,dest={folder}")),
            Err(format!(
                "--output \"{folder}\" is a directory, and type=tar writes a file; name a file in dest"
            ))
        );
        for fine in [
            folder.to_string(),
            format!("{folder}/new"),
            format!("type=oci,dest={file}"),
            format!("type=tar,dest={folder}/new.tar"),
        ] {
            assert_eq!(check(fine.clone()), Ok(()), "{fine}");
        }
    }
}
