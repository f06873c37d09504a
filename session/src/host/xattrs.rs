//! Extended attributes of a file by its folder and name.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// The kernel's limit for one value and for a list of names.
const MAX_BYTES: usize = 64 << 10;

/// Returns the attributes of a name that `wanted` lets through, without following it. What may not
/// be read, or vanished, does not come along.
#[must_use]
pub fn xattrs(
    folder: &OwnedFd,
    name: &[u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    // The calls that take a directory descriptor are too new to rely on.
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let list = grow(|buffer| rustix::fs::llistxattr(path.as_slice(), buffer));
    let list = list.unwrap_or_default();
    let names = list.split(|&byte| byte == 0);
    let names = names.filter(|name| !name.is_empty() && wanted(name));
    names
        .filter_map(|name| {
            let value = grow(|buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer))?;
            Some((name.to_vec(), value))
        })
        .collect()
}

/// Calls with a small buffer and then with the largest that can be needed; `None` on errors.
fn grow(mut query: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Option<Vec<u8>> {
    let mut small = [0; 256];
    match query(&mut small) {
        Ok(count) => return Some(small[..count].to_vec()),
        Err(Errno::RANGE) => {}
        Err(_) => return None,
    }
    let mut large = vec![0; MAX_BYTES];
    let count = query(&mut large).ok()?;
    large.truncate(count);
    Some(large)
}
