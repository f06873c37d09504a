//! Files from the web that are archives, or turn out not to be.

use lamina_llb::Reference;
use lamina_proto::pb;
use lamina_types::FileKind;

use crate::client::Client;
use crate::client::alone;
use crate::error::Result;
use crate::graph::CopyOptions;
use crate::graph::FileBuilder;
use crate::graph::Graph;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::paths;

/// How much of a download is looked at to tell an archive from something else.
pub(super) const HEADER_BYTES: u64 = 1024;

/// What a zstd frame begins with. Archives in them are no contexts, but `ADD` unpacks them.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Client {
    /// Returns the time of the newest file in an archive from the web, in seconds since 1970; none if
    /// `source` is no archive, or has no files.
    ///
    /// The archive is unpacked for it, by the engine and within its limits.
    ///
    /// # Errors
    /// If it cannot be had, or the archive is damaged.
    pub(crate) async fn newest_of_download(&self, source: pb::SourceOp) -> Result<Option<i64>> {
        let Some(name) = source.attrs.get("http.filename").cloned() else {
            return Ok(None);
        };
        let definition = alone(Vertex::new(pb::op::Op::Source(source)));
        let Some(file) = self.bridge.solve(definition.clone()).await? else {
            return Ok(None);
        };
        let range = Some((0, HEADER_BYTES));
        let header = self.bridge.read_file(&file, &name, range).await?;
        if !is_archive(&header) && !header.starts_with(&ZSTD) {
            return Ok(None);
        }
        match self.bridge.solve(unpacked(&definition, &name)?).await? {
            Some(tree) => self.newest_of_tree(&tree, &name).await,
            None => Ok(None),
        }
    }

    /// Returns the time of the newest file. What was compressed but is no archive was copied as it is,
    /// as `download`, and has no time: that is 0 for a file whose server says none.
    ///
    /// Directories whose names are not UTF-8 cannot be asked for and are passed by.
    async fn newest_of_tree(&self, tree: &Reference, download: &str) -> Result<Option<i64>> {
        let download = paths::join("/", download);
        let mut newest = None;
        let mut open = vec!["/".to_owned()];
        while let Some(dir) = open.pop() {
            for (name, stat) in self.bridge.read_dir(tree, &dir, None).await? {
                let path = paths::join(&dir, &String::from_utf8_lossy(&name));
                let is_text = std::str::from_utf8(&name).is_ok();
                match stat.kind {
                    FileKind::Directory if is_text => open.push(path),
                    FileKind::File if stat.mtime_ns != 0 || path != download => {
                        newest = newest.max(seconds(stat.mtime_ns));
                    }
                    _ => {}
                }
            }
        }
        Ok(newest)
    }
}

fn seconds(nanoseconds: i128) -> Option<i64> {
    i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()
}

/// Says whether a file that begins with `header` can be a build context.
pub(super) fn is_archive(header: &[u8]) -> bool {
    let starts: [&[u8]; 3] = [b"BZh", &[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0]];
    starts.iter().any(|magic| header.starts_with(magic))
        || header.get(257..262) == Some(&b"ustar"[..])
}

/// Returns what is in the archive `path` of `definition`.
///
/// # Errors
/// If the definition cannot be read.
pub(super) fn unpacked(definition: &pb::Definition, path: &str) -> Result<pb::Definition> {
    let options = CopyOptions {
        unpack: true,
        ..CopyOptions::default()
    };
    copied(definition, path, options)
}

/// Returns a tree that is what copying `path` of `from` gives.
///
/// # Errors
/// If the definition cannot be read.
pub(super) fn copied(
    from: &pb::Definition,
    path: &str,
    options: CopyOptions,
) -> Result<pb::Definition> {
    let mut graph = Graph::default();
    let tree = graph.import(from)?;
    let mut file = FileBuilder::new(None);
    file.copy(tree, path, "/", options);
    let output = Output::of(graph.add(file.finish()));
    Ok(graph.into_definition(Some(output), None))
}
