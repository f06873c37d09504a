//! What is copied: paths, URLs, repositories, and files written in the Dockerfile.

use lamina_types::DigestError;

use crate::convert::Converter;
use crate::convert::copy::CopyPlan;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::git::GitRef;
use crate::graph::CopyOptions;
use crate::graph::FileBuilder;
use crate::graph::Output;
use crate::graph::git;
use crate::graph::http;
use crate::graph::is_url;
use crate::instructions::InlineFile;
use crate::lint::Rule;
use crate::paths;

impl Converter<'_> {
    pub(super) fn add_source(
        &mut self,
        id: StageId,
        path: &str,
        plan: &CopyPlan<'_>,
        file: &mut FileBuilder,
    ) -> Result<()> {
        if let Some(repository) = GitRef::parse(path)? {
            return self.add_git(repository, plan, file);
        }
        if is_url(path) {
            return self.add_url(path, plan, file);
        }
        // Each pattern is compared with the path.
        self.spend(plan.ignore.map_or(0, |ignore| ignore.patterns().len()));
        lint_ignored(path, plan);
        self.add_path(id, path, plan, file)
    }

    fn add_path(
        &mut self,
        id: StageId,
        path: &str,
        plan: &CopyPlan<'_>,
        file: &mut FileBuilder,
    ) -> Result<()> {
        let system = self.system(id);
        let mut options = CopyOptions {
            user_path: true,
            unpack: plan.job.copy.unpack.unwrap_or(plan.job.copy.is_add),
            ..plan.options.clone()
        };
        let mut source = path;
        if plan.job.copy.parents {
            let (start, pattern) = path.split_once("/./").unwrap_or(("/", path));
            let pattern = paths::clean(&system.absolute("/", pattern)?);
            if pattern != "/" {
                if !has_wildcard(start) && !has_wildcard(&pattern) {
                    self.require("file.copy.requiredpaths", "COPY --parents of a plain path")?;
                    options.required = vec![paths::join(&format!("/{start}"), &pattern)];
                }
                options.includes = vec![pattern.trim_start_matches('/').to_owned()];
            }
            source = start;
        }
        let source = system.absolute("/", source)?;
        let looked_for = options.required.first().unwrap_or(&source);
        explain_missing(path, looked_for, plan, file);
        file.copy(plan.source, &source, &plan.destination, options);
        Ok(())
    }

    fn add_git(
        &mut self,
        mut repository: GitRef,
        plan: &CopyPlan<'_>,
        file: &mut FileBuilder,
    ) -> Result<()> {
        if !plan.job.copy.is_add {
            return Err(FrontendError::CopyGit.into());
        }
        self.require("source.git", "ADD of a git repository")?;
        let copy = &plan.job.copy;
        match (copy.keep_git_dir, repository.keep_git_dir) {
            (Some(flag), Some(query)) if flag != query => {
                return Err(FrontendError::KeepGitDir.into());
            }
            (flag, query) => repository.keep_git_dir = query.or(flag),
        }
        if !copy.checksum.is_empty() {
            if !repository.checksum.is_empty() && repository.checksum != copy.checksum {
                return Err(FrontendError::ChecksumConflict {
                    given: copy.checksum.clone(),
                    in_address: repository.checksum,
                }
                .into());
            }
            repository.checksum.clone_from(&copy.checksum);
        }
        let vertex = git(&repository)
            .named(&plan.name)
            .at(Some(plan.job.origin.lines));
        let tree = Output::of(self.graph.add(vertex));
        file.copy(Some(tree), "/", &plan.destination, plan.options.clone());
        Ok(())
    }

    fn add_url(&mut self, url: &str, plan: &CopyPlan<'_>, file: &mut FileBuilder) -> Result<()> {
        if !plan.job.copy.is_add {
            return Err(FrontendError::CopyUrl.into());
        }
        let checksum = &plan.job.copy.checksum;
        check_digest(checksum)?;
        self.require("source.http", "ADD of a URL")?;
        let name = url_file_name(url);
        let vertex = http(url, &name, checksum).named(&plan.name);
        let tree = Output::of(self.graph.add(vertex.at(Some(plan.job.origin.lines))));
        let options = CopyOptions {
            unpack: plan.job.copy.unpack.unwrap_or(false),
            ..plan.options.clone()
        };
        file.copy(Some(tree), &name, &plan.destination, options);
        Ok(())
    }

    pub(super) fn add_inline(
        &mut self,
        id: StageId,
        inline: &InlineFile,
        plan: &CopyPlan<'_>,
        file: &mut FileBuilder,
    ) -> Result<()> {
        let name = self.system(id).without_drive(&inline.name)?;
        let mut document = FileBuilder::new(None);
        document.make_file(&name, 0o644, inline.content.as_bytes());
        let vertex = document
            .finish()
            .named("[internal] preparing inline document");
        let tree = Output::of(self.graph.add(vertex));
        file.copy(Some(tree), &name, &plan.destination, plan.options.clone());
        Ok(())
    }
}

fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '*' | '?' | '[' => return true,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    false
}

/// Returns the name that the file gets: the last part of the URL's path.
pub(super) fn url_file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    match paths::base_name(path) {
        "" | "." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// Checks the form of a digest: those of other kinds than sha256 have names that clients know.
///
/// # Errors
/// If it is none.
pub(super) fn check_digest(text: &str) -> std::result::Result<(), FrontendError> {
    if text.is_empty() {
        return Ok(());
    }
    let parsed: std::result::Result<lamina_types::Digest, DigestError> = text.parse();
    if parsed.is_ok() {
        return Ok(());
    }
    let Some((algorithm, hex)) = text.split_once(':') else {
        return Err(FrontendError::ChecksumFormat);
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(FrontendError::ChecksumAlgorithm),
    };
    if hex.len() != length {
        return Err(FrontendError::ChecksumLength);
    }
    if hex
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Ok(());
    }
    Err(FrontendError::ChecksumFormat)
}

/// Lets the error say so if `source`, which the user wrote as `path`, is missing because the ignore
/// file leaves it out.
fn explain_missing(path: &str, source: &str, plan: &CopyPlan<'_>, file: &mut FileBuilder) {
    let Some(reason) = plan.ignore.and_then(|ignore| ignore.reason(path)) else {
        return;
    };
    let verb = if plan.job.copy.is_add { "ADD" } else { "COPY" };
    file.explain_missing(source, format!("{verb} {path}: {reason}"));
}

/// Reports a source that the ignore file leaves out. With exceptions in that file nothing is said,
/// since parts of the source may come back.
fn lint_ignored(path: &str, plan: &CopyPlan<'_>) {
    let Some(ignore) = plan.ignore.filter(|file| !file.list().has_exclusions()) else {
        return;
    };
    let path = paths::clean(path);
    let is_ignored = match path.trim_start_matches('/') {
        "" | "." => ignore.leaves_everything_out(),
        name => ignore.list().matches_path(name.as_bytes()),
    };
    if is_ignored {
        let verb = if plan.job.copy.is_add { "Add" } else { "Copy" };
        let path = path.as_str();
        plan.linter
            .report(Rule::CopyIgnoredFile { verb, path }, plan.job.origin.lines);
    }
}
