//! What steps can have of control groups here, found out by making a group.

use std::path::Path;

use super::Cgroups;
use super::Group;
use super::NEEDED;
use super::OURS;
use super::ProcessLimit;
use super::Request;
use super::parent;
use super::tree::Version;
use crate::Resources;

/// What control groups are good for on this machine, for this user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlGroups {
    /// Whether a tree of version 1, and of version 2, is mounted.
    pub versions: (bool, bool),
    /// Why no group can be made, if so: steps then run without limits, and want of memory is not
    /// told apart.
    pub refused: Option<String>,
    /// Controllers whose limits cannot be had all the same.
    pub unlimited: Vec<&'static str>,
}

/// Limits that limit nothing.
const HARMLESS: Resources = Resources {
    memory_bytes: 1 << 60,
    memory_and_swap_bytes: 0,
    cpu_shares: 1024,
    cpu_period_us: 0,
    cpu_quota_us: 0,
    cpus: String::new(),
    memory_nodes: String::new(),
};

impl ControlGroups {
    /// Makes a group as for a step, looks at it, and removes it.
    #[must_use]
    pub fn probe() -> Self {
        let groups = Cgroups::detect(ProcessLimit::default());
        let has = |version| {
            groups
                .hierarchies
                .iter()
                .any(|tree| tree.version == version)
        };
        let versions = (has(Version::One), has(Version::Two));
        let id = format!("{}-probe", std::process::id());
        let made = groups.make(&Request {
            parent: "",
            id: &id,
            confined: false,
            everywhere: false,
            resources: &HARMLESS,
            devices: &[],
        });
        let report = match made {
            Ok(step) if step.groups.is_empty() => Self {
                versions,
                refused: Some(groups.refusal(&id)),
                unlimited: step.unmet.clone(),
            },
            Ok(step) => Self {
                versions,
                refused: None,
                unlimited: step.unmet.clone(),
            },
            Err(error) => Self {
                versions,
                refused: Some(error.to_string()),
                unlimited: Vec::new(),
            },
        };
        groups.remove_parent();
        report
    }
}

impl Cgroups {
    /// Says why there is no group, by trying once more.
    fn refusal(&self, id: &str) -> String {
        let needed = |tree: &&super::Hierarchy| tree.is_needed(&NEEDED);
        let Some(tree) = self.hierarchies.iter().find(needed) else {
            return "none are mounted".to_owned();
        };
        let tried = parent::candidates(tree, "", OURS);
        let refused = tried.iter().rev().find_map(|dir| {
            let error = Group::make(tree, dir, id, &[]).err()?;
            let above = dir.parent().unwrap_or(Path::new("/"));
            Some(format!("{}: {error}", above.display()))
        });
        refused.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_groups_says_so() {
        assert_eq!(Cgroups::default().refusal("1-x"), "none are mounted");
        let here = ControlGroups::probe();
        let some = here.versions != (false, false);
        assert!(some || here.refused.is_some(), "{here:?}");
    }
}
