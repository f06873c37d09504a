//! What is agreed with the kernel when a mount begins.

use fuser::InitFlags;
use fuser::KernelConfig;

use super::overlay::Overlay;
use crate::Owners;

/// The most bytes of one request for data.
const REQUEST_BYTES: u32 = 1 << 20;

/// Requests that may wait in the background: pages that are written back and read ahead.
const BACKGROUND: u16 = 64;

/// Wanted of every kernel that has it.
const WANTED: [InitFlags; 11] = [
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_NO_EXPORT_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
];

/// Agrees on all that makes the mount faster and that the kernel has.
pub(super) fn negotiate(overlay: &Overlay, config: &mut KernelConfig) {
    for flag in WANTED {
        offer(config, flag);
    }
    // With stored owners nobody is refused anything, and attributes of the system cannot be set.
    if overlay.format.owners == Owners::Real {
        offer(config, InitFlags::FUSE_POSIX_ACL);
    }
    // One or the other: with both, the kernel leaves passthrough out.
    if may_pass_through() && offer(config, InitFlags::FUSE_PASSTHROUGH) {
        // The layers are on a file system of the machine's, and not on a stacked one.
        let agreed = config.set_max_stack_depth(1);
        if agreed.is_ok() {
            overlay.io_mode.agree_to_pass_through();
        }
    } else if offer(config, InitFlags::FUSE_WRITEBACK_CACHE) {
        overlay.io_mode.agree_to_write_back();
    }
    // What the library or the kernel does not grant stays at its default.
    let size = config.set_max_write(REQUEST_BYTES);
    let background = config.set_max_background(BACKGROUND);
    if let (Err(limit), _) | (_, Err(limit)) = (size, background.map_err(u32::from)) {
        tracing::debug!(limit, "less is granted than was asked for");
    }
}

fn offer(config: &mut KernelConfig, flag: InitFlags) -> bool {
    let answer = config.add_capabilities(flag);
    answer.is_ok()
}

/// Says whether the kernel lets this process tell it of files: only root of the machine may, although
/// the offer is made to everybody.
fn may_pass_through() -> bool {
    let whole = |map: String| {
        let mut words = map.split_ascii_whitespace();
        words.next() == Some("0") && words.next() == Some("0") && words.next() == Some("4294967295")
    };
    rustix::process::geteuid().is_root()
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(whole)
}
