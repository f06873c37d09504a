//! The places that a root must have before it is mounted.

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_types::RootedPath;

use super::Sources;
use crate::ExecError;
use crate::ProcessSpec;
use crate::stubs;
use crate::stubs::Stub;
use crate::stubs::Stubs;
use crate::wire::Identity;

/// Places of the system's mounts that are directories of the root.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Makes the places of all mounts that are not inside another mount, and the working directory.
pub(super) fn make_places(
    layer: &ActiveLayer,
    spec: &ProcessSpec,
    user: &Identity,
    sources: &Sources<'_>,
) -> Result<Stubs, ExecError> {
    let mut stubs = Stubs::default();
    let mut covered: Vec<RootedPath> = Vec::new();
    let with_parents = spec.remove_mount_stubs_recursive;
    for place in SYSTEM_DIRECTORIES.map(RootedPath::new) {
        stubs.make(layer, &place, Stub::Directory, with_parents)?;
        covered.push(place);
    }
    for (dest, stub) in &sources.places {
        let place = layer.tree().resolve(dest, Follow::Last)?;
        if !lies_in(&place, &covered) {
            stubs.make(layer, &place, *stub, with_parents)?;
        }
        covered.push(place);
    }
    let cwd = layer
        .tree()
        .resolve(&RootedPath::new(&spec.cwd), Follow::Last)?;
    if !lies_in(&cwd, &covered) {
        stubs::make_cwd(layer, &cwd, user)?;
    }
    Ok(stubs)
}

fn lies_in(place: &RootedPath, mounts: &[RootedPath]) -> bool {
    mounts.iter().any(|mount| place.starts_with(mount))
}
