//! Sources: images, local directories, OCI layouts, URLs and git repositories.

use std::collections::BTreeMap;

use lamina_proto::pb;
use lamina_types::Platform;

use crate::git::GitRef;
use crate::graph::Vertex;
use crate::paths;

fn source(identifier: String, attrs: BTreeMap<String, String>, cap: &str) -> Vertex {
    let mut vertex = Vertex::new(pb::op::Op::Source(pb::SourceOp { identifier, attrs }));
    vertex.needs(cap);
    vertex
}

/// Returns an image in a registry; `mode` is how it is looked up.
pub(crate) fn image(reference: &str, platform: Option<Platform>, mode: &str) -> Vertex {
    let mut attrs = BTreeMap::new();
    if mode != "default" {
        attrs.insert("image.resolvemode".to_owned(), mode.to_owned());
    }
    let mut vertex = source(format!("docker-image://{reference}"), attrs, "source.image");
    if mode == "pull" {
        vertex.needs("source.image.resolvemode");
    }
    vertex.platform = platform;
    vertex
}

/// Returns an image in a layout that the client serves.
pub(crate) fn oci_layout(
    reference: &str,
    session: &str,
    store: &str,
    platform: Option<Platform>,
) -> Vertex {
    let mut attrs = BTreeMap::new();
    for (key, value) in [("oci.session", session), ("oci.store", store)] {
        if !value.is_empty() {
            attrs.insert(key.to_owned(), value.to_owned());
        }
    }
    let mut vertex = source(
        format!("oci-layout://{reference}"),
        attrs,
        "source.ocilayout",
    );
    vertex.platform = platform;
    vertex
}

/// A directory of the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalSource {
    pub(crate) name: String,
    pub(crate) session: String,
    /// Patterns of what is left out.
    pub(crate) excludes: Vec<String>,
    /// Paths that are wanted, links followed; empty for all.
    pub(crate) follow: Vec<String>,
    /// Directories with the same hint share what was transferred before.
    pub(crate) shared_key: String,
    /// The files are few: send them rather than compare.
    pub(crate) always_send: bool,
}

/// Returns a directory of the client.
pub(crate) fn local(from: &LocalSource) -> Vertex {
    let mut vertex = source(
        format!("local://{}", from.name),
        BTreeMap::new(),
        "source.local",
    );
    for (key, value, cap) in [
        ("local.session", from.session.clone(), "sessionid"),
        ("local.followpaths", json_list(&from.follow), "followpaths"),
        (
            "local.excludepatterns",
            json_list(&from.excludes),
            "excludepatterns",
        ),
        (
            "local.sharedkeyhint",
            from.shared_key.clone(),
            "sharedkeyhint",
        ),
    ] {
        if !value.is_empty() {
            set(&mut vertex, key, value);
            vertex.needs(&format!("source.local.{cap}"));
        }
    }
    if from.always_send {
        set(&mut vertex, "local.differ", "none".to_owned());
    }
    vertex
}

/// Returns the words as a JSON list; empty if there are none.
fn json_list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        words => serde_json::Value::from(words.to_vec()).to_string(),
    }
}

/// Says whether `address` is one of the web.
pub(crate) fn is_url(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

/// Returns a file behind a URL.
pub(crate) fn http(url: &str, filename: &str, checksum: &str) -> Vertex {
    let mut vertex = source(url.to_owned(), BTreeMap::new(), "source.http");
    set(&mut vertex, "http.filename", filename.to_owned());
    if !checksum.is_empty() {
        set(&mut vertex, "http.checksum", checksum.to_owned());
        vertex.needs("source.http.checksum");
    }
    vertex
}

/// Returns a checkout of a git repository.
pub(crate) fn git(git: &GitRef) -> Vertex {
    let mut vertex = source(git_identifier(git), BTreeMap::new(), "source.git");
    set(
        &mut vertex,
        "git.authtokensecret",
        "GIT_AUTH_TOKEN".to_owned(),
    );
    set(
        &mut vertex,
        "git.authheadersecret",
        "GIT_AUTH_HEADER".to_owned(),
    );
    for (name, value) in [
        ("fullurl", git.remote.as_str()),
        ("mountsshsock", if git.is_ssh { "default" } else { "" }),
        ("checksum", &git.checksum),
        ("keepgitdir", truth(git.keep_git_dir == Some(true))),
        ("skipsubmodules", truth(git.submodules == Some(false))),
        ("mtime", &git.mtime),
        ("fetchbycommit", truth(git.fetch_by_commit)),
    ] {
        if !value.is_empty() {
            set(&mut vertex, &format!("git.{name}"), value.to_owned());
            vertex.needs(&format!("source.git.{name}"));
        }
    }
    vertex
}

/// Returns `git://host/path[#[reference][:directory]]`.
fn git_identifier(git: &GitRef) -> String {
    let mut identifier = format!("git://{}{}", git.host, paths::join("/", &git.path));
    if !git.reference.is_empty() || !git.subdir.is_empty() {
        identifier.push('#');
        identifier.push_str(&git.reference);
    }
    if !git.subdir.is_empty() {
        identifier.push(':');
        identifier.push_str(&git.subdir);
    }
    identifier
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "" }
}

impl Vertex {
    /// Returns the source that this is, if it is one.
    pub(crate) fn source(&self) -> Option<&pb::SourceOp> {
        match &self.op {
            pb::op::Op::Source(source) => Some(source),
            _ => None,
        }
    }

    /// Sets an attribute of a source.
    pub(crate) fn with_attr(mut self, key: &str, value: &str) -> Self {
        set(&mut self, key, value.to_owned());
        self
    }
}

fn set(vertex: &mut Vertex, key: &str, value: String) {
    if let pb::op::Op::Source(source) = &mut vertex.op {
        source.attrs.insert(key.to_owned(), value);
    }
}
