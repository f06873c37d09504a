//! Requests for the names in a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use fuser::INodeNo;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;

use super::answers::answer;
use crate::fuse::overlay::Overlay;
use crate::fuse::words::FOREVER;
use crate::fuse::words::GENERATION;
use crate::fuse::words::number;

pub(super) fn names(fs: &Overlay, ino: INodeNo, offset: u64, mut reply: ReplyDirectory) {
    let listing = || fs.listing(&fs.node(ino)?, offset);
    answer!(reply, listing(), listing => {
        for listed in listing.after(offset) {
            let name = OsStr::from_bytes(&listed.name);
            if reply.add(INodeNo(listed.ino), listed.cookie, listed.kind, name) {
                break;
            }
        }
        reply.ok();
    });
}

/// Lists with what is known of every name.
pub(super) fn described(fs: &Overlay, ino: INodeNo, offset: u64, mut reply: ReplyDirectoryPlus) {
    let listing = || {
        let node = fs.node(ino)?;
        Ok((fs.listing(&node, offset)?, node))
    };
    answer!(reply, listing(), (listing, node) => {
        let mut told = false;
        for listed in listing.after(offset) {
            let full = fs.describe_listed(&node, listed, |attr| {
                let (ino, name) = (attr.ino, OsStr::from_bytes(&listed.name));
                reply.add(ino, listed.cookie, name, &FOREVER, attr, GENERATION)
            });
            match full {
                Ok(false) => told = true,
                // What was told counts; the kernel will ask for this one again.
                Err(_) if told => break,
                Err(error) => return reply.error(number(error)),
                Ok(true) => break,
            }
        }
        reply.ok();
    });
}
