//! The digest of a directory with all below it.
//!
//! One walk lists directories and files, the files are hashed in parallel, and then the directories are
//! put together from the innermost outwards. There is no recursion, so no tree is too deep.

use std::rc::Rc;

use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::RootedPath;

use super::batch::Batch;
use super::batch::Context;
use super::batch::Hashed;
use super::batch::Slot;
use super::content;
use crate::SnapshotError;
use crate::fdio;
use crate::metadata;
use crate::tree::Entry;
use crate::tree::Found;
use crate::tree::Part;
use crate::tree::find;
use crate::tree::shown_while;

/// Digests the directory `entry`.
pub(super) fn directory(entry: &Entry, context: &Context<'_>) -> Result<Digest, SnapshotError> {
    let mut walk = Walk {
        context,
        batch: Batch::new(context),
        nodes: Vec::new(),
        todo: Vec::new(),
    };
    let parts: Rc<[Part]> = entry.parts()?.to_vec().into();
    if let Some(known) = walk.visit(parts, entry.path())? {
        return Ok(known);
    }
    while let Some(job) = walk.todo.pop() {
        context.cancel.check()?;
        walk.visit_child(job, entry.path())?;
    }
    let Walk { batch, nodes, .. } = walk;
    Ok(combine(&nodes, &batch.finish()?, context))
}

/// A directory; those in it come after it in the list.
struct Node {
    header: Digest,
    children: Vec<(Vec<u8>, Child)>,
    /// Where the digest is remembered: in the only layer that the directory is in.
    memo: Option<(Part, u64)>,
}

enum Child {
    File(Slot),
    Directory(usize),
    Known(Digest),
    /// A directory that was not visited yet.
    Waiting,
}

/// A directory to visit: in `parts`, and the child `position` of `node`.
struct Job {
    parts: Rc<[Part]>,
    node: usize,
    position: usize,
}

struct Walk<'a> {
    context: &'a Context<'a>,
    batch: Batch<'a>,
    nodes: Vec<Node>,
    todo: Vec<Job>,
}

impl Walk<'_> {
    fn visit_child(&mut self, job: Job, at: &RootedPath) -> Result<(), SnapshotError> {
        let (name, _) = &self.nodes[job.node].children[job.position];
        let Some(Found::Directory(parts)) = find(&job.parts, name).at(at)? else {
            return Err(crate::error::errno(rustix::io::Errno::NOTDIR, at));
        };
        let index = self.nodes.len();
        let child = match self.visit(parts.into(), at)? {
            Some(known) => Child::Known(known),
            None => Child::Directory(index),
        };
        self.nodes[job.node].children[job.position].1 = child;
        Ok(())
    }

    /// Lists a directory as a new node, unless its digest is known.
    fn visit(
        &mut self,
        parts: Rc<[Part]>,
        at: &RootedPath,
    ) -> Result<Option<Digest>, SnapshotError> {
        let memo = memo_of(&parts, at)?;
        if let Some((part, inode)) = &memo
            && let Some(known) = self.context.known(part, *inode)
        {
            return Ok(Some(known));
        }
        let header = match parts.first() {
            Some(top) => content::header(&metadata::stat_of_opened(top.owners, &*top.fd).at(at)?.1),
            None => content::header(&metadata::default_directory()),
        };
        let node = self.nodes.len();
        let mut children = Vec::new();
        for shown in shown_while(&parts, at, self.context.cancel)? {
            let child = if shown.is_dir {
                self.todo.push(Job {
                    parts: Rc::clone(&parts),
                    node,
                    position: children.len(),
                });
                Child::Waiting
            } else {
                Child::File(self.batch.add(&parts[shown.part], shown.name.clone())?)
            };
            children.push((shown.name, child));
        }
        self.nodes.push(Node {
            header,
            children,
            memo,
        });
        Ok(None)
    }
}

/// Returns where the digest of merged directories belongs, if they are one directory of one layer.
fn memo_of(parts: &[Part], at: &RootedPath) -> Result<Option<(Part, u64)>, SnapshotError> {
    match parts {
        [only] if only.layer().is_some() => {
            let inode = fdio::stat_fd(&only.fd).at(at)?.inode();
            Ok(Some((only.clone(), inode)))
        }
        _ => Ok(None),
    }
}

/// Puts the directories together, innermost first; the first node is the outermost.
fn combine(nodes: &[Node], hashed: &Hashed, context: &Context<'_>) -> Digest {
    let mut digests = vec![Digest::from_bytes([0; 32]); nodes.len()];
    for (index, node) in nodes.iter().enumerate().rev() {
        let children: Vec<(&[u8], Digest)> = node
            .children
            .iter()
            .map(|(name, child)| {
                let digest = match child {
                    Child::File(slot) => hashed.get(*slot),
                    Child::Directory(index) => digests[*index],
                    Child::Known(digest) => *digest,
                    Child::Waiting => unreachable!("every job was done"),
                };
                (name.as_slice(), digest)
            })
            .collect();
        let pairs = children.iter().map(|(name, digest)| (*name, digest));
        digests[index] = content::directory(&node.header, pairs);
        if let Some((part, inode)) = &node.memo {
            context.remember(part, *inode, digests[index]);
        }
    }
    digests[0]
}
