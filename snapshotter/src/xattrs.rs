//! Extended attributes, by descriptor or by name in a directory, never following.
//!
//! The kernel's calls with a directory descriptor are too new to rely on, so names go through
//! `/proc/self/fd/<dir>/<name>` with the calls that do not follow the last component.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::io::Result;

use crate::Owners;
use crate::fdio;
use crate::owners::is_of_image;

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
    pub(crate) fn image_xattrs(&self, owners: Owners) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for kept in self.list()? {
            let Some(name) = owners.image_name(&kept) else {
                continue;
            };
            if let Some(value) = self.get(&kept)? {
                found.insert(name, value);
            }
        }
        Ok(found)
    }

    /// Makes the image's attributes exactly `wanted`; those of the overlay and the host stay.
    pub(crate) fn replace_image_xattrs(
        &self,
        owners: Owners,
        wanted: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<()> {
        for kept in self.list()? {
            let name = owners.image_name(&kept);
            if name.is_some_and(|name| !wanted.contains_key(&name)) {
                self.remove(&kept)?;
            }
        }
        for (name, value) in wanted {
            if is_of_image(name) {
                self.set(&owners.kept_name(name), value)?;
            }
        }
        Ok(())
    }
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
