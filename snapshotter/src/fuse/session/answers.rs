//! Results as replies.

use fuser::ReplyAttr;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use rustix::io::Result;

use crate::fuse::names::Described;
use crate::fuse::overlay::Overlay;
use crate::fuse::words::FOREVER;
use crate::fuse::words::number;
use crate::fuse::words::reply_entry;

/// Sends the value of a result, or its error.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $send:expr) => {
        match $result {
            Ok($value) => $send,
            Err(error) => $reply.error($crate::fuse::words::number(error)),
        }
    };
}

pub(super) use answer;

/// Answers with a node that was found or made, which is one more reference to it.
pub(super) fn entry(fs: &Overlay, described: Result<Described>, reply: ReplyEntry) {
    answer!(reply, described, (node, raw) => reply_entry(reply, fs, &node, &raw));
}

/// Answers with what is known of a node.
pub(super) fn attributes(fs: &Overlay, described: Result<Described>, reply: ReplyAttr) {
    answer!(reply, described, (node, raw) => {
        reply.attr(&FOREVER, &fs.attributes(&node, &raw));
    });
}

/// Answers that it is done.
pub(super) fn done(done: Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(number(error)),
    }
}
