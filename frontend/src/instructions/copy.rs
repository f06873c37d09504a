//! `COPY` and `ADD` (rows DFI-19 to DFI-31).

use std::collections::BTreeMap;

use crate::instructions::InstructionError;
use crate::instructions::flags::FlagKind;
use crate::instructions::flags::Flags;
use crate::syntax::Heredoc;
use crate::syntax::Node;
use crate::syntax::heredoc_word;
use crate::syntax::strip_leading_tabs;

/// What to copy where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copy {
    /// It is an `ADD`: URLs and repositories may be sources, and archives are unpacked.
    pub is_add: bool,
    /// Paths, patterns, and for `ADD` URLs.
    pub sources: Vec<String>,
    /// Files written in the Dockerfile itself.
    pub inline: Vec<InlineFile>,
    /// Where to.
    pub destination: String,
    /// `--from`, empty if not given.
    pub from: String,
    /// `--chown`, empty if not given.
    pub chown: String,
    /// `--chmod`, empty if not given.
    pub chmod: String,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`
    pub excludes: Vec<String>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--checksum`, empty if not given.
    pub checksum: String,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// A file whose content is a here-document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InlineFile {
    /// Its name: the here-document's word.
    pub name: String,
    /// Its content.
    pub content: String,
    /// Variables in it are expanded.
    pub expand: bool,
}

const COPY_FLAGS: [(&str, FlagKind); 6] = [
    ("chown", FlagKind::Value),
    ("from", FlagKind::Value),
    ("chmod", FlagKind::Value),
    ("link", FlagKind::Switch),
    ("exclude", FlagKind::List),
    ("parents", FlagKind::Switch),
];

const ADD_FLAGS: [(&str, FlagKind); 7] = [
    ("chown", FlagKind::Value),
    ("chmod", FlagKind::Value),
    ("link", FlagKind::Switch),
    ("keep-git-dir", FlagKind::Switch),
    ("checksum", FlagKind::Value),
    ("unpack", FlagKind::Switch),
    ("exclude", FlagKind::List),
];

/// Reads `COPY`.
pub(crate) fn parse_copy(node: &Node) -> Result<Copy, InstructionError> {
    parse(node, "COPY", &COPY_FLAGS)
}

/// Reads `ADD`.
pub(crate) fn parse_add(node: &Node) -> Result<Copy, InstructionError> {
    parse(node, "ADD", &ADD_FLAGS)
}

fn parse(
    node: &Node,
    keyword: &'static str,
    known: &[(&'static str, FlagKind)],
) -> Result<Copy, InstructionError> {
    let Some((destination, words)) = node.arguments.list().split_last() else {
        return Err(InstructionError::NeedsDestination { keyword });
    };
    if words.is_empty() {
        return Err(InstructionError::NeedsDestination { keyword });
    }
    let flags = Flags::parse(&node.flags, known)?;
    if heredoc_word(destination).is_ok_and(|word| word.is_some()) {
        return Err(InstructionError::HeredocDestination { keyword });
    }
    let (sources, inline) = split_sources(words, &node.heredocs);
    Ok(Copy {
        is_add: keyword == "ADD",
        sources,
        inline,
        destination: destination.clone(),
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        excludes: flags.list("exclude"),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.text("checksum"),
        unpack: flags.switch("unpack"),
    })
}

/// Takes the here-documents out of the sources.
fn split_sources(words: &[String], heredocs: &[Heredoc]) -> (Vec<String>, Vec<InlineFile>) {
    let contents: BTreeMap<&str, &Heredoc> = heredocs
        .iter()
        .map(|document| (document.name.as_str(), document))
        .collect();
    let mut sources = Vec::new();
    let mut inline = Vec::new();
    for word in words {
        let Ok(Some(start)) = heredoc_word(word) else {
            sources.push(word.clone());
            continue;
        };
        let document = contents.get(start.name.as_str());
        let content = document.map_or("", |document| document.content.as_str());
        inline.push(InlineFile {
            content: if start.strip_tabs {
                strip_leading_tabs(content)
            } else {
                content.to_owned()
            },
            name: start.name,
            expand: start.expand,
        });
    }
    (sources, inline)
}
