//! Who may use the unix sockets (rows NET-01, FLG-04, CFG-03).

use nix::unistd::Group;

use super::SettingsError;
use crate::config::Grpc;

/// Owner and group of the sockets; `None` leaves what the system gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketOwner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl SocketOwner {
    /// The flag counts before the file.
    pub(super) fn find(group: Option<&str>, file: &Grpc) -> Result<Self, SettingsError> {
        let gid = match group.filter(|group| !group.is_empty()) {
            Some(group) => Some(group_id(group)?),
            None => file.gid,
        };
        let uid = file.uid;
        Ok(Self { uid, gid })
    }
}

fn group_id(group: &str) -> Result<u32, SettingsError> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let refuse = |reason: String| SettingsError::Group {
        group: group.to_owned(),
        reason,
    };
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(refuse("there is no such group".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_or_numbers() {
        let file = Grpc {
            uid: Some(7),
            gid: Some(8),
            ..Grpc::default()
        };
        let gid = |group| SocketOwner::find(group, &file).map(|owner| owner.gid);
        assert_eq!(gid(None).expect("valid"), Some(8));
        assert_eq!(gid(Some("")).expect("valid"), Some(8));
        assert_eq!(gid(Some("1234")).expect("valid"), Some(1234));
        assert_eq!(gid(Some("root")).expect("valid"), Some(0));
        let message = gid(Some("no-such-group")).expect_err("unknown").to_string();
        assert!(message.contains("there is no such group"), "{message}");
    }
}
