//! Capabilities of a step (rows EXC-32 and EXC-33).

use std::io;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

/// What a confined root may do: Docker's default set.
const DEFAULT: CapabilitySet = CapabilitySet::AUDIT_WRITE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// Bits of a capability set.
const POSSIBLE: u32 = 64;

/// Sets what no program of the step can ever regain. Before the change of user.
pub(super) fn limit(confined: bool) -> io::Result<()> {
    if !confined {
        // Else a step of another user would lose them with the change.
        return Ok(rustix::thread::set_keep_capabilities(true)?);
    }
    rustix::thread::clear_ambient_capability_set()?;
    for capability in single_capabilities() {
        if DEFAULT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows none from here on.
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Sets what the process has now. After the change of user, which took all from any but root.
pub(super) fn settle(confined: bool, uid: u32) -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    if confined {
        if uid == 0 {
            sets.effective &= DEFAULT;
            sets.permitted &= DEFAULT;
            rustix::thread::set_capabilities(None, sets)?;
        }
        return Ok(());
    }
    sets.effective = sets.permitted;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    for capability in single_capabilities().filter(|one| sets.permitted.contains(*one)) {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Lists the capabilities of a step by name, for other runtimes.
pub(super) fn names(confined: bool) -> Vec<String> {
    let all = rustix::thread::capabilities(None).map_or(DEFAULT, |sets| sets.permitted);
    let wanted = if confined { DEFAULT & all } else { all };
    let named = wanted.iter_names().map(|(name, _)| format!("CAP_{name}"));
    named.collect()
}

fn single_capabilities() -> impl Iterator<Item = CapabilitySet> {
    (0..POSSIBLE).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}
