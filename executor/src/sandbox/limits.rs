//! Resource limits (row EXC-08).

use std::io;

use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::wire::Limit;

/// The names that a limit may have, and what they limit.
const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Finds a resource by its name, in lower case.
pub(crate) fn resource(name: &str) -> Option<Resource> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, resource)| *resource)
}

/// Sets one limit of this process.
pub(super) fn set(limit: &Limit) -> io::Result<()> {
    let resource = resource(&limit.name).ok_or(io::ErrorKind::InvalidInput)?;
    let value = Rlimit {
        current: limit.soft,
        maximum: limit.hard,
    };
    Ok(rustix::process::setrlimit(resource, value)?)
}
