//! Which files of a directory are wanted (row SRC-11).
//!
//! A path is taken if it matches the include patterns (or there are none) and does not match the
//! exclude patterns. A directory that is not taken itself still comes along if something below it
//! is.

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;

use crate::LocalRequest;
use crate::SessionError;

/// Decides path by path.
pub(super) struct Filter {
    include: Option<PatternList>,
    exclude: Option<PatternList>,
}

/// What was found for a directory, for its children.
#[derive(Clone, Default)]
pub(super) struct Parents {
    include: ParentMatch,
    exclude: ParentMatch,
}

/// What is to be done with a path.
pub(super) struct Verdict {
    pub(super) taken: bool,
    /// Of a directory: whether something below it may be taken.
    pub(super) enter: bool,
    pub(super) parents: Parents,
}

impl Filter {
    /// `followed` is what the follow paths lead to; `None` = they ask for everything or are not
    /// given.
    pub(super) fn new(
        local: &LocalRequest,
        followed: Option<Vec<String>>,
    ) -> Result<Self, SessionError> {
        let mut include = local.includes.clone();
        include.extend(followed.unwrap_or_default());
        Ok(Self {
            include: compile("includepatterns", &include)?,
            exclude: compile("excludepatterns", &local.excludes)?,
        })
    }

    /// Decides for `path`, which is relative to the root, given the result for its parent.
    pub(super) fn decide(&self, path: &[u8], parents: &Parents) -> Verdict {
        let mut verdict = Verdict {
            taken: true,
            enter: true,
            parents: Parents::default(),
        };
        if let Some(include) = &self.include {
            let (matches, state) = include.matches(path, &parents.include);
            verdict.parents.include = state;
            verdict.taken &= matches;
            verdict.enter &= matches || include.may_match_below(path);
        }
        if let Some(exclude) = &self.exclude {
            let (matches, state) = exclude.matches(path, &parents.exclude);
            verdict.parents.exclude = state;
            verdict.taken &= !matches;
            verdict.enter &= !matches || exclude.may_take_back_below(path);
        }
        verdict
    }
}

fn compile(
    attribute: &'static str,
    patterns: &[String],
) -> Result<Option<PatternList>, SessionError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let compiled = PatternList::new(patterns);
    let compiled = compiled.map_err(|source| SessionError::Pattern { attribute, source })?;
    Ok(Some(compiled))
}
