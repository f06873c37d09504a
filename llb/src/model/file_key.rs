//! How a file op enters the cache key (row FIL-25).
//!
//! Trees that are changed count by their own key. A tree that is only copied from counts by the
//! content of what is copied, so the op's own part has but the base name of the source; a tree that
//! owners are looked up in counts by its `/etc/passwd` and `/etc/group`.

use std::collections::BTreeSet;

use lamina_patterns::is_wildcard;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action as PbAction;
use lamina_proto::pb::user_opt::User as PbUser;
use lamina_snapshotter::Selection;
use lamina_types::Digest;
use lamina_types::RootedPath;
use lamina_types::Sha256Hasher;

use super::InputUse;
use super::Operand;
use super::RequiredPath;
use super::SpecError;
use super::file::Wiring;
use super::file_action::given_owner;
use crate::key::KeyHasher;

/// Returns the op's own part of the key.
pub(super) fn key(actions: &[pb::FileAction], wiring: Wiring) -> Result<Digest, SpecError> {
    let mut key = KeyHasher::new("file");
    for (at, action) in actions.iter().enumerate() {
        let mut action = action.clone();
        let from_input = matches!(
            wiring.operand(at, action.secondary_input)?,
            Operand::Input(_)
        );
        if let (Some(PbAction::Copy(copy)), true) = (&mut action.action, from_input) {
            copy.src = base_name(&copy.src);
        }
        key = key.message(&action);
    }
    Ok(key.finish())
}

/// The last component; what is before it shows in the content key.
fn base_name(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None if trimmed.is_empty() && !path.is_empty() => "/".to_owned(),
        None => trimmed.to_owned(),
    }
}

/// Returns for each input how it enters the key.
pub(super) fn input_uses(
    actions: &[pb::FileAction],
    wiring: Wiring,
) -> Result<Vec<InputUse>, SpecError> {
    let mut changed = BTreeSet::new();
    let mut read: Vec<Vec<Selection>> = vec![Vec::new(); wiring.inputs];
    let mut required: Vec<Vec<RequiredPath>> = vec![Vec::new(); wiring.inputs];
    for (at, action) in actions.iter().enumerate() {
        if let Operand::Input(input) = wiring.operand(at, action.input)? {
            changed.insert(input);
        }
        if let Some(PbAction::Copy(copy)) = &action.action
            && let Operand::Input(input) = wiring.operand(at, action.secondary_input)?
        {
            read[input].push(copied(copy));
            required[input].extend(RequiredPath::of(copy));
        }
        for (tree, file) in name_files(action) {
            if let Operand::Input(input) = wiring.operand(at, tree)? {
                read[input].push(plain(file, true));
            }
        }
    }
    let read = read.into_iter().zip(required).enumerate();
    let uses = read.map(|(input, (selections, required))| {
        if changed.contains(&input) || selections.is_empty() {
            InputUse::default()
        } else {
            InputUse {
                required,
                ..by_content(selections)
            }
        }
    });
    Ok(uses.collect())
}

fn copied(copy: &pb::FileActionCopy) -> Selection {
    Selection {
        path: RootedPath::new(&copy.src).as_bytes().to_vec(),
        wildcard: copy.allow_wildcard && is_wildcard(copy.src.as_bytes()),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    }
}

fn plain(path: &str, follow_links: bool) -> Selection {
    Selection {
        path: path.as_bytes().to_vec(),
        wildcard: false,
        follow_links,
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

/// Returns the files in which names of the action's owner are looked up, with the tree's index.
fn name_files(action: &pb::FileAction) -> Vec<(i64, &'static str)> {
    let owner = action.action.as_ref().and_then(given_owner);
    let Some(owner) = owner else {
        return Vec::new();
    };
    let named = |user: &Option<pb::UserOpt>, file| match user.as_ref()?.user.as_ref()? {
        PbUser::ByName(named) => Some((named.input, file)),
        PbUser::ById(_) => None,
    };
    let user = named(&owner.user, "/etc/passwd");
    let group = named(&owner.group, "/etc/group");
    user.into_iter().chain(group).collect()
}

fn by_content(selections: Vec<Selection>) -> InputUse {
    let mut paths: Vec<&[u8]> = selections.iter().map(|s| s.path.as_slice()).collect();
    paths.sort_unstable();
    let mut selector = Sha256Hasher::new();
    for path in paths {
        selector.update_field(path);
    }
    InputUse {
        selector: Some(selector.finish()),
        content: Some(deduplicate(selections)),
        required: Vec::new(),
    }
}

/// Drops plain paths that another plain path covers, and sorts.
fn deduplicate(selections: Vec<Selection>) -> Vec<Selection> {
    let is_plain = |s: &Selection| !s.wildcard && s.include.is_empty() && s.exclude.is_empty();
    let plain_paths: BTreeSet<(RootedPath, bool)> = selections
        .iter()
        .filter(|s| is_plain(s))
        .map(|s| (RootedPath::new(&s.path), s.follow_links))
        .collect();
    let covered = |path: &RootedPath, follow: bool| {
        std::iter::successors(path.parent(), RootedPath::parent)
            .any(|above| plain_paths.contains(&(above, follow)))
    };
    let mut kept: Vec<Selection> = plain_paths
        .iter()
        .filter(|(path, follow)| !covered(path, *follow))
        .map(|(path, follow)| Selection {
            path: path.as_bytes().to_vec(),
            follow_links: *follow,
            ..plain("", false)
        })
        .collect();
    kept.extend(selections.into_iter().filter(|s| !is_plain(s)));
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(src: &str, input: i64, secondary: i64) -> pb::FileAction {
        pb::FileAction {
            input,
            secondary_input: secondary,
            output: 0,
            action: Some(PbAction::Copy(pb::FileActionCopy {
                src: src.to_owned(),
                dest: "/d".to_owned(),
                ..pb::FileActionCopy::default()
            })),
        }
    }

    const TWO_INPUTS: Wiring = Wiring {
        inputs: 2,
        actions: 1,
    };

    #[test]
    fn the_source_counts_by_base_name_when_it_is_an_input() {
        let key = |src, secondary| key(&[copy(src, 0, secondary)], TWO_INPUTS).expect("valid");
        assert_eq!(key("/a/f", 1), key("/b/f", 1));
        assert_ne!(key("/a/f", 1), key("/a/g", 1));
        assert_ne!(
            key("/a/f", 2),
            key("/b/f", 2),
            "results of actions have no content key"
        );
    }

    #[test]
    fn base_names() {
        for (path, base) in [
            ("", ""),
            ("/", "/"),
            ("//", "/"),
            ("a", "a"),
            ("/a/b", "b"),
            ("/a/b/", "b"),
        ] {
            assert_eq!(base_name(path), base, "{path:?}");
        }
    }

    #[test]
    fn changed_trees_have_no_content_key_and_read_ones_do() {
        let uses = input_uses(&[copy("/a", 0, 1)], TWO_INPUTS).expect("valid");
        assert_eq!(uses[0], InputUse::default());
        let content = uses[1].content.as_ref().expect("read");
        assert_eq!(content[0].path, b"/a");
        let both = input_uses(&[copy("/a", 1, 1)], TWO_INPUTS).expect("valid");
        assert_eq!(both[1], InputUse::default());
    }

    #[test]
    fn covered_paths_fall_out() {
        let kept = deduplicate(vec![
            plain("/a/b", false),
            plain("/a", false),
            plain("/a/c", true),
            plain("/ab", false),
        ]);
        let paths: Vec<&[u8]> = kept.iter().map(|s| s.path.as_slice()).collect();
        assert_eq!(paths, [&b"/a"[..], b"/a/c", b"/ab"]);
    }
}
