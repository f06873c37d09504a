//! Whether steps on a bridge have IPv6: where the machine gets somewhere by it, on bridges of our own.
//!
//! The address of a step, and of the gateway, follows from its IPv4 address, so that it is taken and free
//! again with that one. What steps say on the bridge about routers is not believed.

use crate::NetworkError;
use crate::error::Doing;
use crate::forwarding;
use crate::forwarding::Family;
use crate::forwarding::Forwarder;
use crate::forwarding::Ipv6Forwarding;
use crate::routes;

/// Has a new bridge speak IPv6 if that is of use, and keeps it from all of it otherwise. Returns which.
pub(super) fn prepare(bridge: &str) -> Result<bool, NetworkError> {
    if is_of_use() {
        match forwarding::with_ipv6(bridge) {
            Ok(()) => return Ok(true),
            Err(error) => tracing::warn!(%error, "steps on {bridge} have no IPv6"),
        }
    }
    forwarding::without_ipv6(bridge).doing(|| format!("keep {bridge} from IPv6"))?;
    Ok(false)
}

fn is_of_use() -> bool {
    if routes::ipv6_uplinks().is_empty() {
        return false;
    }
    let possible = forwarding::ipv6() != Ipv6Forwarding::No;
    if !possible {
        tracing::info!(
            "steps have no IPv6: it is not forwarded, and this kernel could only be told to forward it \
             between all devices"
        );
    }
    possible
}

/// Returns the devices that have to be told to forward for steps.
pub(super) fn uplinks() -> Vec<Forwarder> {
    let devices = routes::ipv6_uplinks();
    told(devices.iter().map(String::as_str))
}

/// Returns `bridge` if it has to be told to forward.
pub(super) fn bridge(bridge: &str) -> Vec<Forwarder> {
    told([bridge])
}

fn told<'a>(devices: impl IntoIterator<Item = &'a str>) -> Vec<Forwarder> {
    if forwarding::ipv6() != Ipv6Forwarding::ByDevice {
        return Vec::new();
    }
    let all = devices.into_iter();
    all.map(|device| Forwarder::new(Family::Ipv6, device))
        .collect()
}
