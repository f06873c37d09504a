//! `SOURCE_DATE_EPOCH`: one time for everything (rows FDF-41, DFL-11).
//!
//! The value is one of
//!
//! - a number: seconds since 1970;
//! - `context`: the time of the build context;
//! - the name of a named context: that one's time;
//! - the name of a stage that does nothing but `ADD` a URL or a repository ([`stage`]): the time of
//!   what it adds. The stage is not built for it.
//!
//! A commit has the time of its committer; a file from the web that of its `Last-Modified`, or else,
//! if it is an archive, of the newest file in it. Nothing else has a time: the build is then one
//! without the argument.

mod stage;

use jiff::Timestamp;
use lamina_llb::ResolveSourceRequest;
use lamina_proto::pb;
use prost::Message;

use crate::client::Client;
use crate::context::NamedContext;
use crate::convert::Converter;
use crate::convert::at;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::is_url;
use crate::instructions::Stage;

pub use self::stage::EpochStageError;

/// The argument's name.
pub(crate) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The value that stands for the time of the build context.
const CONTEXT: &str = "context";

/// What has a time, and what progress calls looking it up.
type Dated = (pb::SourceOp, String);

impl Converter<'_> {
    /// Sets the time of everything, if the build has one. Steps see it as a number, whatever it was
    /// written as, and no such argument if there is no time.
    ///
    /// # Errors
    /// If it is neither a number nor a name of something, or what it names cannot be looked up.
    pub(super) async fn set_epoch(&mut self, stages: &[Stage]) -> Result<()> {
        let default = || self.globals.get(VARIABLE).filter(|value| !value.is_empty());
        let given = self.build_args.get(VARIABLE).map(String::as_str);
        let Some(value) = given.or_else(default) else {
            return Ok(());
        };
        self.epoch = match value.parse() {
            Ok(seconds) => Some(seconds),
            Err(_) if value.is_empty() => None,
            Err(_) => match self.dated(value, stages)? {
                Some(dated) => time_of(self.job.client, dated).await?,
                None => None,
            },
        };
        self.show_epoch();
        Ok(())
    }

    /// Puts the time in the argument's place.
    fn show_epoch(&mut self) {
        let Some(time) = self.epoch else {
            self.build_args.remove(VARIABLE);
            self.globals.remove(VARIABLE);
            return;
        };
        if let Some(given) = self.build_args.get_mut(VARIABLE) {
            *given = time.to_string();
        }
        if self.globals.get(VARIABLE).is_some() {
            self.globals.set(VARIABLE, time.to_string());
        }
    }

    /// Returns the source that `name` stands for; none if what it stands for is made of several, or
    /// of none.
    fn dated(&self, name: &str, stages: &[Stage]) -> Result<Option<Dated>> {
        let client = self.job.client;
        if name == CONTEXT {
            let source = client.main_context().and_then(only_source);
            let shown = "[internal] resolve main build context metadata".to_owned();
            return Ok(source.map(|source| (source, shown)));
        }
        let shown = |what| format!("[internal] resolve {VARIABLE} {what} {name}");
        let options = client.bridge().options();
        if let Some(context) = NamedContext::find(options, name, &self.platforms.build)? {
            let source = self.source_of(&context)?;
            return Ok(source.map(|source| (source, shown("named context"))));
        }
        let is_meant = |stage: &&Stage| stage.name.eq_ignore_ascii_case(name);
        let unknown = || FrontendError::Epoch {
            value: name.to_owned(),
        };
        let stage = stages.iter().find(is_meant).ok_or_else(unknown)?;
        let source = at(self.source_of_stage(stage), stage.origin.lines)?;
        Ok(Some((source, shown("source stage"))))
    }

    /// Returns what a named context is, if it is one source.
    fn source_of(&self, context: &NamedContext) -> Result<Option<pb::SourceOp>> {
        match context.split()? {
            ("docker-image" | "oci-layout" | "local", _) => Ok(None),
            ("input", input) => Ok(only_source(self.input(&context.name, input)?)),
            _ => Ok(super::named::remote(context)?.source().cloned()),
        }
    }
}

/// Returns when the commit was made or the file last modified; none for all other sources.
async fn time_of(client: &Client, (source, log_name): Dated) -> Result<Option<i64>> {
    let is_git = source.identifier.starts_with("git://");
    if !is_git && !is_url(&source.identifier) {
        return Ok(None);
    }
    let request = ResolveSourceRequest {
        git_objects: is_git,
        source: source.clone(),
        log_name,
        ..ResolveSourceRequest::default()
    };
    let resolved = client.bridge().resolve_source(request).await?;
    let objects = resolved.git.and_then(|git| git.objects);
    let committed = objects.and_then(|objects| commit_time(&objects.commit));
    match committed.or(resolved.http.and_then(|(_, _, modified)| modified)) {
        None if !is_git => client.newest_of_download(source).await,
        time => Ok(time),
    }
}

/// Returns the source of a definition that has exactly one.
fn only_source(definition: &pb::Definition) -> Option<pb::SourceOp> {
    let ops = definition
        .def
        .iter()
        .filter_map(|op| pb::Op::decode(&op[..]).ok());
    let mut sources = ops.filter_map(|op| match op.op {
        Some(pb::op::Op::Source(source)) => Some(source),
        _ => None,
    });
    let first = sources.next();
    first.filter(|_| sources.next().is_none())
}

/// Returns the time in the line `committer name <address> seconds zone` of a commit's header.
fn commit_time(commit: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(commit);
    let header = text.split("\n\n").next()?;
    let mut lines = header.lines();
    let line = lines.find_map(|line| line.strip_prefix("committer "))?;
    let (_, time) = line.rsplit_once("> ")?;
    time.split(' ').next()?.parse().ok()
}

/// Returns the time as image configs write it; none if it is beyond the years that they can.
pub(crate) fn to_text(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(to_text(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(to_text(i64::MAX), None);
    }

    #[test]
    fn the_committer_s_time_is_found() {
        for (commit, wanted) in [
            (
                "tree x\nauthor a <a> 1 +0100\ncommitter b <c> 2 +0000\n\nm\n",
                Some(2),
            ),
            ("tree x\n\ncommitter b <c> 2 +0000\n", None),
            ("committer b 2\n\n", None),
            ("", None),
        ] {
            assert_eq!(commit_time(commit.as_bytes()), wanted, "{commit:?}");
        }
    }
}
