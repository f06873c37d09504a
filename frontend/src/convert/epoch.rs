//! `SOURCE_DATE_EPOCH`: one time for everything (rows FDF-41, DFL-11).

use jiff::Timestamp;
use lamina_llb::ResolveSourceRequest;
use lamina_proto::pb;
use prost::Message;

use crate::client::Client;
use crate::convert::Converter;
use crate::error::FrontendError;
use crate::error::Result;

/// The argument's name.
pub(crate) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The value that stands for the time of the build context.
const CONTEXT: &str = "context";

impl Converter<'_> {
    /// Sets the time of everything, if the build has one. Where it is that of the context, steps see
    /// it as a number.
    ///
    /// # Errors
    /// If it is no time, or the context cannot be looked up.
    pub(super) async fn set_epoch(&mut self) -> Result<()> {
        let given = self.build_args.get(VARIABLE).map(String::as_str);
        let value = given
            .or_else(|| self.globals.get(VARIABLE))
            .unwrap_or_default();
        if value != CONTEXT {
            self.epoch = parse(value)?;
            return Ok(());
        }
        self.epoch = time_of_context(self.job.client).await?;
        let shown = self.epoch.map(|time| time.to_string()).unwrap_or_default();
        match self.build_args.get_mut(VARIABLE) {
            Some(given) => *given = shown,
            None => self.globals.set(VARIABLE, shown),
        }
        Ok(())
    }
}

/// Returns when the commit of the build context was made, or when its file was last modified;
/// none for a directory of the client.
async fn time_of_context(client: &Client) -> Result<Option<i64>> {
    let Some(source) = client.main_context().and_then(only_source) else {
        return Ok(None);
    };
    let request = ResolveSourceRequest {
        git_objects: source.identifier.starts_with("git://"),
        source,
        log_name: "[internal] resolve main build context metadata".to_owned(),
        ..ResolveSourceRequest::default()
    };
    let resolved = client.bridge().resolve_source(request).await?;
    let objects = resolved.git.and_then(|git| git.objects);
    let committed = objects.and_then(|objects| commit_time(&objects.commit));
    Ok(committed.or(resolved.http.and_then(|(_, _, modified)| modified)))
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

/// Reads seconds since 1970; none if the text is empty.
///
/// # Errors
/// For anything that is no number. The forms that name a stage or another context are refused the
/// same way.
fn parse(text: &str) -> std::result::Result<Option<i64>, FrontendError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| FrontendError::Epoch {
        value: text.to_owned(),
    })
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
        assert_eq!(parse("").expect("empty"), None);
        assert!(parse("zz").is_err());
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
