//! The built-in frontend stands in for the published one of the same name.
//!
//! Most Dockerfiles begin with `# syntax=docker/dockerfile:1`. That image is used where it can be
//! had. Where it cannot, without a network or behind a registry that lacks it, the build goes on
//! with the frontend that is here, and the user is told. No other image has a stand-in, nor has one
//! that is named by its digest: whoever pins it wants no other.

use std::time::Duration;

use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::Warning;

use super::image;
use crate::reference::ImageName;

/// The repositories of the published frontend.
const PUBLISHED: [&str; 2] = [
    "docker.io/docker/dockerfile",
    "docker.io/docker/dockerfile-upstream",
];

/// How long its image is looked for: a registry that does not answer must not hold up builds that
/// need nothing of it.
pub(super) const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);

/// Says whether the built-in frontend does for `source`.
///
/// It does for syntax lines, which say what the file is written in (row FGW-02). Who names the
/// image in any other way, or gives another in its place, wants just that.
pub(super) fn is_there(bridge: &dyn Bridge, source: &str) -> bool {
    let name = ImageName::parse(source);
    name.is_ok_and(|name| PUBLISHED.contains(&name.name()) && name.digest().is_none())
        && bridge.options().contains_key("cmdline")
        && !image::is_replaced(bridge, source)
}

/// Returns the error of a look-up that took too long.
pub(super) fn no_answer(name: &str) -> BuildError {
    let seconds = LOOK_UP_LIMIT.as_secs();
    BuildError {
        unavailable: true,
        ..BuildError::new(format!("{name}: no answer within {seconds} seconds"))
    }
}

/// Tells the user which frontend it is that builds.
pub(super) fn note(source: &str, reason: &BuildError) -> Warning {
    Warning {
        short: format!("{source} cannot be had, the built-in frontend is used instead"),
        detail: vec![reason.message.clone()],
        level: 1,
        ..Warning::default()
    }
}
