//! Extended attributes, by descriptor or by name in a directory, never following.
//!
//! The kernel's calls with a directory descriptor are too new to rely on, so names go through
//! `/proc/self/fd/<dir>/<name>` with the calls that do not follow the last component.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::io::Result;

use crate::fdio;
use crate::namespace;

/// What has the attributes.
#[derive(Clone)]
pub(crate) enum Target {
    /// A name in an open directory.
    Name(Vec<u8>),
    /// What is open behind a descriptor.
    Opened(Vec<u8>),
}

impl Target {
    pub(crate) fn name(dir: &impl AsFd, name: &[u8]) -> Self {
        let mut path = fdio::proc_path(dir).into_bytes();
        path.push(b'/');
        path.extend_from_slice(name);
        Self::Name(path)
    }

    pub(crate) fn opened(fd: &impl AsFd) -> Self {
        Self::Opened(fdio::proc_path(fd).into_bytes())
    }

    fn query_list(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Name(path) => rustix::fs::llistxattr(path.as_slice(), buffer),
            Self::Opened(path) => rustix::fs::listxattr(path.as_slice(), buffer),
        }
    }

    fn query(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Name(path) => rustix::fs::lgetxattr(path.as_slice(), name, buffer),
            Self::Opened(path) => rustix::fs::getxattr(path.as_slice(), name, buffer),
        }
    }

    /// Returns all names; none where the file system has no attributes.
    pub(crate) fn list(&self) -> Result<Vec<Vec<u8>>> {
        let packed = match with_growing_buffer(|buffer| self.query_list(buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            result => result?,
        };
        let names = packed.split(|&byte| byte == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// Returns one value; `None` if there is no such attribute.
    pub(crate) fn get(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match with_growing_buffer(|buffer| self.query(name, buffer)) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        self.set_with(name, value, XattrFlags::empty())
    }

    pub(crate) fn set_with(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        match self {
            Self::Name(path) => rustix::fs::lsetxattr(path.as_slice(), name, value, flags),
            Self::Opened(path) => rustix::fs::setxattr(path.as_slice(), name, value, flags),
        }
    }

    /// Removes one attribute; `ENODATA` if it is not there.
    pub(crate) fn remove_existing(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Name(path) => rustix::fs::lremovexattr(path.as_slice(), name),
            Self::Opened(path) => rustix::fs::removexattr(path.as_slice(), name),
        }
    }

    /// Removes one attribute; it need not be there.
    pub(crate) fn remove(&self, name: &[u8]) -> Result<()> {
        match self.remove_existing(name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            result => result,
        }
    }

    /// Returns the attributes that belong to the image.
    pub(crate) fn image_xattrs(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for name in self.list()? {
            if !is_of_image(&name) {
                continue;
            }
            if let Some(value) = self.get(&name)? {
                found.insert(name, value);
            }
        }
        Ok(found)
    }

    /// Makes the image's attributes exactly `wanted`; those of the overlay and the host stay.
    pub(crate) fn replace_image_xattrs(&self, wanted: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
        for name in self.list()? {
            if is_of_image(&name) && !wanted.contains_key(&name) {
                self.remove(&name)?;
            }
        }
        for (name, value) in wanted {
            if is_of_image(name) {
                self.set(name, value)?;
            }
        }
        Ok(())
    }
}

/// Says whether an attribute belongs to the image: not to an overlay, and not to the host's security
/// modules (labels and measurements of this machine); file capabilities do.
fn is_of_image(name: &[u8]) -> bool {
    !namespace::is_overlay(name)
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

/// The kernel's limit for a value and for a list.
const MAX_BYTES: usize = 64 * 1024;

fn with_growing_buffer(query: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 512];
    match query(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; MAX_BYTES];
    let length = query(&mut large)?;
    large.truncate(length);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_host_and_the_overlay_are_not_the_images() {
        for (name, expected) in [
            (&b"user.a"[..], true),
            (b"security.capability", true),
            (b"security.selinux", false),
            (b"trusted.overlay.opaque", false),
            (b"user.overlay.origin", false),
            (b"trusted.x", true),
            (b"system.posix_acl_access", true),
        ] {
            assert_eq!(is_of_image(name), expected, "{name:?}");
        }
    }
}
