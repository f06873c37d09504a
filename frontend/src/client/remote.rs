//! Build contexts that are no directory of the client: git, http, and frontend inputs.

use crate::client::Client;
use crate::client::alone;
use crate::client::download::HEADER_BYTES;
use crate::client::download::copied;
use crate::client::download::is_archive;
use crate::client::download::unpacked;
use crate::client::engine;
use crate::error::Result;
use crate::git::GitRef;
use crate::graph::CopyOptions;
use crate::graph::Vertex;
use crate::graph::git;
use crate::graph::http;
use crate::graph::is_url;
use crate::instructions::parse_bool;

/// What a downloaded context is called in its source.
const DOWNLOAD: &str = "context";

impl Client {
    /// Finds out whether the context is remote, and if so, sets where it and the Dockerfile are.
    pub(super) async fn find_remote_context(&mut self) -> Result<()> {
        let key = self.option("contextkey").unwrap_or("context").to_owned();
        let address = self.option(&key).unwrap_or_default().to_owned();
        if let Some(repository) = GitRef::parse(&address)?.or_else(|| short_git(&address)) {
            let context = alone(self.git_context(repository, &address));
            self.context = Some(context.clone());
            self.dockerfile = Some(context);
        } else if is_url(&address) {
            self.download(&address).await?;
        } else {
            let inputs = self.bridge.inputs();
            self.dockerfile = inputs.get(&self.dockerfile_dir).cloned();
            self.context = inputs.get("context").cloned();
        }
        if let (Some(context), Some(dir)) = (&self.context, self.option("contextsubdir")) {
            let options = CopyOptions {
                user_path: true,
                ..CopyOptions::default()
            };
            self.context = Some(copied(context, dir, options)?);
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
            unpacked(&definition, DOWNLOAD)?
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
