//! Letting the machine pass packets on between a bridge and the devices that lead out.
//!
//! Only the devices concerned are told, never all at once (`net.ipv4.ip_forward`). All of this is about
//! the namespace that the calling thread is in.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Says whether a device forwards.
pub(crate) fn is_on(device: &str) -> bool {
    std::fs::read_to_string(place(device)).is_ok_and(|text| text.trim() == "1")
}

/// Makes a device forward.
pub(crate) fn turn_on(device: &str) -> io::Result<()> {
    std::fs::write(place(device), "1")
}

/// Makes a device forward nothing any more; it may have gone.
pub(crate) fn turn_off(device: &str) {
    match std::fs::write(place(device), "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "{device} still forwards packets");
        }
        _ => {}
    }
}

/// Keeps a device from everything of IPv6: what steps say there would be believed.
pub(crate) fn without_ipv6(device: &str) -> io::Result<()> {
    let place = Path::new("/proc/sys/net/ipv6/conf")
        .join(device)
        .join("disable_ipv6");
    match std::fs::write(place, "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn place(device: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf")
        .join(device)
        .join("forwarding")
}
