//! From the library's words to ours and back.

use std::cell::RefCell;
use std::time::Duration;

use fuser::Generation;
use fuser::ReplyEntry;
use fuser::ReplyXattr;
use fuser::Request;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::caller::Caller;
use super::names::NewEntry;
use super::node::Node;
use super::overlay::Overlay;
use crate::fdio::RawStat;

/// How long the kernel may believe what it was told: as good as for ever.
pub(super) const FOREVER: Duration = Duration::from_secs(1 << 30);

/// Numbers are never used twice while the kernel knows them.
pub(super) const GENERATION: Generation = Generation(0);

/// The most bytes of a read that a thread keeps room for.
const READ_BYTES: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Tells the kernel of a node, which is one more reference to it.
pub(super) fn reply_entry(reply: ReplyEntry, fs: &Overlay, node: &Node, raw: &RawStat) {
    reply.entry(&FOREVER, &fs.attributes(node, raw), GENERATION);
}

/// Answers a question for a value of which only the size may be wanted.
pub(super) fn reply_sized(reply: ReplyXattr, value: &[u8], wanted: u32) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match wanted {
        0 => reply.size(length),
        room if room < length => reply.error(number(Errno::RANGE)),
        _ => reply.data(value),
    }
}

/// Lends this thread's buffer, `size` bytes of it.
pub(super) fn with_buffer(size: usize, work: impl FnOnce(&mut [u8])) {
    BUFFER.with_borrow_mut(|kept| {
        if kept.len() < size {
            kept.resize(size, 0);
        }
        work(&mut kept[..size]);
        kept.truncate(READ_BYTES);
        kept.shrink_to(READ_BYTES);
    });
}

/// Reads the flags of `open(2)`.
pub(super) fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned())
}

/// Says what is to be made, and for whom.
pub(super) fn new_entry(mode: u32, umask: u32, request: &Request) -> NewEntry {
    let caller = caller(request);
    NewEntry {
        mode,
        umask,
        caller,
    }
}

/// Says who asks.
pub(super) fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

/// Turns an error into the library's.
pub(super) fn number(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}
