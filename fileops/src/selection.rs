//! What an action reads, for cache keys (row FIL-25).

use lamina_patterns::is_wildcard;
use lamina_snapshotter::Selection;

use crate::action::Action;
use crate::action::CopyAction;
use crate::action::Owner;
use crate::action::UserRef;

/// The parts of other trees whose content decides what an action does.
///
/// A step that reads its inputs only in these parts has the same result for inputs that are equal
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentSelections {
    /// Of the source tree of a copy.
    pub source: Option<Selection>,
    /// Of the tree in which the owner's user name is looked up.
    pub user: Option<Selection>,
    /// Of the tree in which the owner's group name is looked up.
    pub group: Option<Selection>,
}

/// Returns the parts of other trees that `action` reads.
#[must_use]
pub fn content_selections(action: &Action) -> ContentSelections {
    let owner = match action {
        Action::Copy(copy) => copy.owner.as_ref(),
        Action::MkFile(mkfile) => mkfile.owner.as_ref(),
        Action::MkDir(mkdir) => mkdir.owner.as_ref(),
        Action::Symlink(symlink) => symlink.owner.as_ref(),
        Action::Rm(_) => None,
    };
    ContentSelections {
        source: match action {
            Action::Copy(copy) => Some(copy_selection(copy)),
            _ => None,
        },
        user: owner.and_then(|owner: &Owner| by_name(owner.user.as_ref(), b"/etc/passwd")),
        group: owner.and_then(|owner: &Owner| by_name(owner.group.as_ref(), b"/etc/group")),
    }
}

fn copy_selection(copy: &CopyAction) -> Selection {
    Selection {
        path: copy.source.clone(),
        wildcard: copy.allow_wildcard && is_wildcard(&copy.source),
        follow_links: copy.follow_symlink,
        include: copy.include.clone(),
        exclude: copy.exclude.clone(),
    }
}

fn by_name(user: Option<&UserRef>, file: &[u8]) -> Option<Selection> {
    matches!(user, Some(UserRef::Name { .. })).then(|| Selection {
        path: file.to_vec(),
        wildcard: false,
        follow_links: true,
        include: Vec::new(),
        exclude: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_select_their_source() {
        let copy = |source: &str, allow_wildcard| {
            content_selections(&Action::Copy(CopyAction {
                source: source.into(),
                allow_wildcard,
                ..CopyAction::default()
            }))
        };
        let wildcard = |found: ContentSelections| found.source.map(|source| source.wildcard);
        assert_eq!(wildcard(copy("/a*", true)), Some(true));
        assert_eq!(wildcard(copy("/a*", false)), Some(false));
        assert_eq!(wildcard(copy("/a", true)), Some(false));
        assert_eq!(copy("/a", true).user, None);
    }

    #[test]
    fn numbers_need_no_tree() {
        let action = Action::MkDir(crate::MkDirAction {
            owner: Some(Owner {
                user: Some(UserRef::Id(1)),
                group: None,
            }),
            ..crate::MkDirAction::default()
        });
        assert_eq!(content_selections(&action), ContentSelections::default());
    }
}
