//! What one action of a file op does (rows FIL-04 to FIL-23).
//!
//! The parameters are those of [`lamina_fileops`]; only the owner is kept apart, since the trees
//! that its names are looked up in are not known before the op runs.

use lamina_fileops::Action as FileAction;
use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::MkDirAction;
use lamina_fileops::MkFileAction;
use lamina_fileops::RmAction;
use lamina_fileops::SymlinkAction;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action as PbAction;
use lamina_proto::pb::user_opt::User as PbUser;

use super::Operand;
use super::SpecError;
use super::file::Wiring;

/// Whom a new entry belongs to (row FIL-05).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: Option<OwnerId>,
    pub(crate) group: Option<OwnerId>,
}

/// A user or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnerId {
    /// By number.
    Id(u32),
    /// By name, looked up in the tree `tree`. Scratch has no names; that fails when the op runs.
    Name { name: String, tree: Operand },
}

impl Owner {
    /// Parses the owner of `action`, the op's action number `at`; `None` = not given.
    pub(super) fn parse(
        action: &PbAction,
        at: usize,
        wiring: Wiring,
    ) -> Result<Option<Self>, SpecError> {
        let Some(owner) = given_owner(action) else {
            return Ok(None);
        };
        Ok(Some(Self {
            user: OwnerId::parse(owner.user.as_ref(), at, wiring)?,
            group: OwnerId::parse(owner.group.as_ref(), at, wiring)?,
        }))
    }

    /// Returns the trees in which its names are looked up.
    pub(crate) fn trees(&self) -> impl Iterator<Item = Operand> {
        let tree = |id: &OwnerId| match id {
            OwnerId::Name { tree, .. } => Some(*tree),
            OwnerId::Id(_) => None,
        };
        let ids = [&self.user, &self.group];
        ids.into_iter().flatten().filter_map(tree)
    }
}

impl OwnerId {
    fn parse(
        user: Option<&pb::UserOpt>,
        at: usize,
        wiring: Wiring,
    ) -> Result<Option<Self>, SpecError> {
        let Some(user) = user.and_then(|user| user.user.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(match user {
            PbUser::ById(id) => Self::Id(*id),
            PbUser::ByName(named) => Self::Name {
                name: named.name.clone(),
                tree: wiring.operand(at, named.input)?,
            },
        }))
    }
}

/// Returns the owner that the client gave the action.
pub(super) fn given_owner(action: &PbAction) -> Option<&pb::ChownOpt> {
    match action {
        PbAction::Copy(op) => op.owner.as_ref(),
        PbAction::Mkfile(op) => op.owner.as_ref(),
        PbAction::Mkdir(op) => op.owner.as_ref(),
        PbAction::Symlink(op) => op.owner.as_ref(),
        PbAction::Rm(_) => None,
    }
}

/// Parses an action, leaving its owner out.
pub(super) fn parse(action: PbAction) -> Result<FileAction, SpecError> {
    Ok(match action {
        PbAction::Copy(op) => FileAction::Copy(copy(op)?),
        PbAction::Mkfile(op) => FileAction::MkFile(MkFileAction {
            path: op.path.into_bytes(),
            mode: op.mode.cast_unsigned() & 0o777,
            data: op.data,
            owner: None,
            timestamp: timestamp(op.timestamp),
        }),
        PbAction::Mkdir(op) => FileAction::MkDir(MkDirAction {
            path: op.path.into_bytes(),
            mode: op.mode.cast_unsigned() & 0o777,
            make_parents: op.make_parents,
            owner: None,
            timestamp: timestamp(op.timestamp),
        }),
        PbAction::Rm(op) => FileAction::Rm(RmAction {
            path: op.path.into_bytes(),
            allow_not_found: op.allow_not_found,
            allow_wildcard: op.allow_wildcard,
        }),
        PbAction::Symlink(op) => FileAction::Symlink(SymlinkAction {
            target: op.oldpath.into_bytes(),
            path: op.newpath.into_bytes(),
            owner: None,
            timestamp: timestamp(op.timestamp),
        }),
    })
}

fn copy(op: pb::FileActionCopy) -> Result<CopyAction, SpecError> {
    Ok(CopyAction {
        source: op.src.into_bytes(),
        destination: op.dest.into_bytes(),
        owner: None,
        mode: copy_mode(op.mode, op.mode_str),
        timestamp: timestamp(op.timestamp),
        follow_symlink: op.follow_symlink,
        directory_contents: op.dir_copy_contents,
        unpack_archives: op.attempt_unpack_docker_compatibility,
        create_parents: op.create_dest_path,
        allow_wildcard: op.allow_wildcard,
        allow_empty_wildcard: op.allow_empty_wildcard,
        replace_existing: op.always_replace_existing_dest_paths,
        include: op.include_patterns,
        exclude: op.exclude_patterns,
    })
}

/// The text beats the bits; -1 = keep, of any other number the lowest bits count (rows FIL-08, FIL-09).
fn copy_mode(mode: i32, text: String) -> CopyMode {
    if !text.is_empty() {
        CopyMode::Symbolic(text)
    } else if mode == -1 {
        CopyMode::Keep
    } else {
        CopyMode::Bits(mode.cast_unsigned() & 0o7777)
    }
}

/// -1 = leave as it is; 0 is a real time (row FIL-04).
fn timestamp(value: i64) -> Option<i64> {
    (value != -1).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes_beat_numbers_and_minus_one_keeps() {
        for (mode, text, parsed) in [
            (-1, "", CopyMode::Keep),
            (0, "", CopyMode::Bits(0)),
            (-2, "", CopyMode::Bits(0o7776)),
            (0o104755, "", CopyMode::Bits(0o4755)),
            (0o644, "u=rw", CopyMode::Symbolic("u=rw".to_owned())),
        ] {
            assert_eq!(copy_mode(mode, text.to_owned()), parsed);
        }
    }

    #[test]
    fn zero_is_a_time() {
        assert_eq!(timestamp(-1), None);
        assert_eq!(timestamp(0), Some(0));
    }
}
