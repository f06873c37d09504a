//! Copies of single entries with all that belongs to them.
//!
//! Whoever writes to an upper, the writer of file operations or the file system of a running step,
//! copies up with these.

use std::fs::File;
use std::os::fd::OwnedFd;

use lamina_types::FileKind;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Result;

use crate::MetadataChange;
use crate::StoreFormat;
use crate::XattrNamespace;
use crate::fdio;
use crate::fdio::RawStat;
use crate::metadata;
use crate::owners::New;
use crate::xattrs::Target;

/// A name in an open directory.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) dir: &'a OwnedFd,
    pub(crate) name: &'a [u8],
}

/// How much of an entry is copied, and until when.
pub(crate) struct CopyRules<'a> {
    /// How files are kept in both places.
    pub(crate) format: StoreFormat,
    /// Whether a regular file keeps its data; it is truncated at once if not.
    pub(crate) data: bool,
    /// Asked while data is copied; its error ends the copy.
    pub(crate) go_on: &'a dyn Fn() -> Result<()>,
}

/// Makes `to`, which must not exist, a copy of `from`, which is not a directory and which `raw`
/// describes as the image does: data with holes, owner, mode, times and attributes.
///
/// What was made stays there on an error.
pub(crate) fn copy_entry(
    from: At<'_>,
    raw: &RawStat,
    to: At<'_>,
    rules: &CopyRules<'_>,
) -> std::io::Result<()> {
    let owners = rules.format.owners;
    let stat = metadata::stat_of_name(owners, from.dir, from.name, raw)?;
    match stat.kind {
        FileKind::File => copy_file(from, to, rules)?,
        FileKind::Symlink => {
            let new = New::like(&stat);
            owners.make_symlink(to.dir, to.name, &stat.link_target, &new)?;
        }
        _ => owners.make_node(to.dir, to.name, &New::like(&stat))?,
    }
    let fd = fdio::open_path(to.dir, to.name)?;
    owners.change(&fd, stat.kind, &MetadataChange::all_of(&stat))?;
    let (source, copy) = (Target::name(from.dir, from.name), Target::opened(&fd));
    copy_escaped(&source, &copy, rules.format.xattrs)?;
    let (atime, mtime) = (Some(raw.atime()), Some(raw.mtime()));
    Ok(metadata::set_times(&fd, atime, mtime)?)
}

/// Makes an empty directory with the metadata of `from`, and opens it.
pub(crate) fn copy_dir(from: &OwnedFd, to: At<'_>, format: StoreFormat) -> Result<OwnedFd> {
    let (_, stat) = metadata::stat_of_opened(format.owners, from)?;
    rustix::fs::mkdirat(to.dir, to.name, Mode::from_raw_mode(0o700))?;
    let fd = fdio::open_dir_readable(to.dir, to.name)?;
    let change = MetadataChange::all_of(&stat);
    metadata::apply(format.owners, &fd, FileKind::Directory, &change)?;
    copy_escaped(&Target::opened(from), &Target::opened(&fd), format.xattrs)?;
    Ok(fd)
}

/// Copies the attributes of an overlay inside a step, which are content in an escaped form.
fn copy_escaped(from: &Target, to: &Target, namespace: XattrNamespace) -> Result<()> {
    for name in from.list()? {
        if namespace.is_escaped(&name)
            && let Some(value) = from.get(&name)?
        {
            to.set(&name, &value)?;
        }
    }
    Ok(())
}

fn copy_file(from: At<'_>, to: At<'_>, rules: &CopyRules<'_>) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let made = rustix::fs::openat(to.dir, to.name, flags, Mode::from_raw_mode(0o600))?;
    if !rules.data {
        return Ok(());
    }
    let source = File::from(fdio::open_data(from.dir, from.name)?);
    fdio::copy_data_while(&source, &File::from(made), rules.go_on)
}
