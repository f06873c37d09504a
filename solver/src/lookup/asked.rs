//! What a look-up knows of one input.

use std::collections::BTreeSet;
use std::sync::Arc;

use lamina_types::Digest;

use crate::cell::Realised;
use crate::flight::InputIds;
use crate::key::KeyId;

/// How far one input was asked.
pub(super) struct Asked<V> {
    pub(super) level: Level,
    pub(super) busy: bool,
    pub(super) by_content: bool,
    pub(super) ids: InputIds,
    pub(super) leads_to: BTreeSet<KeyId>,
    pub(super) realised: Option<Arc<Realised<V>>>,
    pub(super) content: Option<Digest>,
}

/// What it was asked for last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Nothing,
    Fast,
    Slow,
    Result,
    Content,
}

impl<V> Asked<V> {
    pub(super) fn new(by_content: bool) -> Self {
        Self {
            level: Level::Nothing,
            busy: false,
            by_content,
            ids: InputIds::new(),
            leads_to: BTreeSet::new(),
            realised: None,
            content: None,
        }
    }

    /// Nothing that it can still be asked says more about keys.
    pub(super) fn is_settled(&self) -> bool {
        self.level
            >= if self.by_content {
                Level::Content
            } else {
                Level::Slow
            }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.level
            >= if self.by_content {
                Level::Content
            } else {
                Level::Result
            }
    }

    pub(super) fn leads_nowhere(&self) -> bool {
        self.leads_to.is_empty()
    }
}
