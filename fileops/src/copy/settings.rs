//! What a copy does to everything that it copies.

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_snapshotter::MetadataChange;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::FileOpError;
use crate::action::CopyAction;
use crate::mode::ModeChange;
use crate::owner;

/// The parts of a copy that are the same for every file.
pub(crate) struct Settings {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: ModeChange,
    pub(crate) timestamp: Option<i64>,
    pub(crate) replace: bool,
    /// `None` includes all; a list of blanks includes nothing.
    include: Option<PatternList>,
    exclude: PatternList,
}

/// What patterns said of a directory, for the look-ups of its children.
#[derive(Default)]
pub(crate) struct Matched {
    include: ParentMatch,
    exclude: ParentMatch,
}

/// What patterns say of one path (row FIL-16).
pub(crate) struct Verdict {
    /// It is copied.
    pub(crate) included: bool,
    /// If it is a directory, something inside may be copied.
    pub(crate) walked: bool,
    pub(crate) matched: Matched,
}

impl Settings {
    pub(crate) fn new(action: &CopyAction) -> Result<Self, FileOpError> {
        let include = match action.include.is_empty() {
            true => None,
            false => Some(PatternList::new(&action.include).map_err(FileOpError::BadInclude)?),
        };
        Ok(Self {
            owner: owner::resolve(action.owner.as_ref())?,
            mode: ModeChange::new(&action.mode)?,
            timestamp: action.timestamp,
            replace: action.replace_existing,
            include,
            exclude: PatternList::new(&action.exclude).map_err(FileOpError::BadExclude)?,
        })
    }

    /// Says whether `path`, relative to the source, is copied; `parent` is the directory's.
    pub(crate) fn verdict(&self, path: &[u8], parent: &Matched) -> Verdict {
        let (mut included, mut walked, mut include) = (true, true, ParentMatch::default());
        if let Some(list) = &self.include {
            (included, include) = list.matches(path, &parent.include);
            walked = included || list.may_match_below(path);
        }
        let (excluded, exclude) = self.exclude.matches(path, &parent.exclude);
        if excluded {
            included = false;
            walked &= self.exclude.may_take_back_below(path);
        }
        let matched = Matched { include, exclude };
        Verdict {
            included,
            walked,
            matched,
        }
    }

    /// Returns the metadata of the copy of something that has `stat`.
    pub(crate) fn metadata(&self, stat: &Stat) -> MetadataChange {
        let mode = self.mode.apply(stat.mode, stat.is_dir());
        MetadataChange {
            owner: Some(self.owner.unwrap_or((stat.uid, stat.gid))),
            mode: (stat.kind != FileKind::Symlink).then_some(mode),
            mtime_ns: Some(self.mtime_ns(stat)),
            xattrs: (!stat.xattrs.is_empty()).then(|| stat.xattrs.clone()),
        }
    }

    /// Returns the modification time of the copy of something that has `stat`.
    pub(crate) fn mtime_ns(&self, stat: &Stat) -> i128 {
        self.timestamp.map_or(stat.mtime_ns, i128::from)
    }

    /// Says whether every copy has the metadata of its source.
    pub(crate) fn keep_all(&self) -> bool {
        self.owner.is_none() && self.mode == ModeChange::Keep && self.timestamp.is_none()
    }

    /// Says whether a copy of something that has `stat` has the same metadata.
    pub(crate) fn keeps(&self, stat: &Stat) -> bool {
        self.owner.is_none_or(|owner| owner == (stat.uid, stat.gid))
            && self.mode.apply(stat.mode, stat.is_dir()) == stat.mode
            && self.mtime_ns(stat) == stat.mtime_ns
    }
}
