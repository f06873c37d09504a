//! Build contexts that are no directory of the client: git, http, and frontend inputs.

use lamina_proto::pb;

use crate::client::Client;
use crate::client::alone;
use crate::client::engine;
use crate::error::Result;
use crate::git::GitRef;
use crate::graph::CopyOptions;
use crate::graph::FileBuilder;
use crate::graph::Graph;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::graph::git;
use crate::graph::http;
use crate::instructions::parse_bool;

/// What a downloaded context is called in its source.
const DOWNLOAD: &str = "context";

/// How much of a download is looked at to tell an archive from a Dockerfile.
const HEADER_BYTES: u64 = 1024;

impl Client {
    /// Finds out whether the context is remote, and if so, sets where it and the Dockerfile are.
    pub(super) async fn find_remote_context(&mut self) -> Result<()> {
        let key = self.option("contextkey").unwrap_or("context").to_owned();
        let address = self.option(&key).unwrap_or_default().to_owned();
        if let Some(repository) = GitRef::parse(&address)?.or_else(|| short_git(&address)) {
            let context = alone(self.git_context(repository, &address));
            self.context = Some(context.clone());
            self.dockerfile = Some(context);
        } else if address.starts_with("http://") || address.starts_with("https://") {
            self.download(&address).await?;
        } else {
            let inputs = self.bridge.inputs();
            self.dockerfile = inputs.get(&self.dockerfile_dir).cloned();
            self.context = inputs.get("context").cloned();
        }
        if let (Some(context), Some(dir)) = (&self.context, self.option("contextsubdir")) {
            self.context = Some(directory_of(context, dir)?);
        }
        Ok(())
    }

    fn git_context(&self, mut repository: GitRef, address: &str) -> Vertex {
        let keep = self.option("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        if keep.and_then(parse_bool) == Some(true) {
            repository.keep_git_dir = Some(true);
        }
        let epoch = self
            .option("build-arg:SOURCE_DATE_EPOCH")
            .unwrap_or_default();
        if !epoch.is_empty() && repository.mtime.is_empty() {
            "commit".clone_into(&mut repository.mtime);
        }
        git(&repository).named(format!("[internal] load git source {address}"))
    }

    /// Takes a download as an archive of the context, or as the Dockerfile itself.
    async fn download(&mut self, url: &str) -> Result<()> {
        let source = http(url, DOWNLOAD, "").named("[internal] load remote build context");
        let definition = alone(source);
        let solved = self.bridge.solve(definition.clone()).await;
        let reference = solved.map_err(|error| engine(error, "failed to resolve httpcontext"))?;
        let header = match &reference {
            Some(reference) => {
                let range = Some((0, HEADER_BYTES));
                let read = self.bridge.read_file(reference, DOWNLOAD, range).await;
                read.map_err(|error| engine(error, "failed to read downloaded context"))?
            }
            None => Vec::new(),
        };
        let context = if is_archive(&header) {
            unpacked(&definition)?
        } else {
            DOWNLOAD.clone_into(&mut self.filename);
            definition
        };
        self.context = Some(context.clone());
        self.dockerfile = Some(context);
        Ok(())
    }
}

/// `github.com/user/repository`, which only contexts may be called.
fn short_git(address: &str) -> Option<GitRef> {
    let is_short = address.starts_with("github.com/");
    let url = format!("https://{address}");
    let (plain, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let with_suffix = match plain.strip_suffix(".git") {
        Some(_) => url.clone(),
        None => format!("{plain}.git#{fragment}"),
    };
    let mut git = GitRef::parse(&with_suffix)
        .ok()
        .flatten()
        .filter(|_| is_short)?;
    plain.clone_into(&mut git.remote);
    git.path = plain.split_once("github.com/")?.1.to_owned();
    Some(git)
}

fn is_archive(header: &[u8]) -> bool {
    let starts: [&[u8]; 3] = [b"BZh", &[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0]];
    starts.iter().any(|magic| header.starts_with(magic))
        || header.get(257..262) == Some(&b"ustar"[..])
}

fn unpacked(definition: &pb::Definition) -> Result<pb::Definition> {
    let options = CopyOptions {
        unpack: true,
        ..CopyOptions::default()
    };
    copied(definition, DOWNLOAD, options)
}

fn directory_of(context: &pb::Definition, dir: &str) -> Result<pb::Definition> {
    let options = CopyOptions {
        user_path: true,
        ..CopyOptions::default()
    };
    copied(context, dir, options)
}

fn copied(from: &pb::Definition, path: &str, options: CopyOptions) -> Result<pb::Definition> {
    let mut graph = Graph::default();
    let tree = graph.import(from)?;
    let mut file = FileBuilder::new(None);
    file.copy(tree, path, "/", options);
    let output = Output::of(graph.add(file.finish()));
    Ok(graph.definition(Some(output), None))
}
