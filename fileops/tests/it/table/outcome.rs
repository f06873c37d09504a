//! Results as text: how the destination differs from what it was, or `! ` and an error, or `nothing`.
//!
//! ```text
//! /new=/f           /new is a copy of the source's /f: kind, mode, owner, time, attributes, content
//! /b&/a             /b is another name of the file /a
//! +/new             a new directory with mode 0755, of root's
//! -/file            gone, with all inside
//! /new"text"        a new file with that data and mode 0644, of root's
//! /new->target      a new symlink, of root's
//! /dir              what it was
//! ```
//!
//! Behind a comma each of these takes another mode (`,0600`), owner (`,3:4`) or time in seconds
//! (`,@7`). New things without a time have the time of the operation, and so has a directory in which
//! names came or went and that nothing else is said of.

use std::collections::BTreeSet;

use super::world::Node;
use super::world::World;
use super::world::owner;

/// Returns what `items` say that comes of `base`.
pub(crate) fn expected(base: &World, source: &World, items: &str) -> World {
    let mut made = Made {
        world: base.clone(),
        source,
        changed: BTreeSet::new(),
        timed: BTreeSet::new(),
    };
    for item in items.split(' ').filter(|item| *item != "nothing") {
        made.take(item);
    }
    for path in made.changed.difference(&made.timed) {
        if let Some(node) = made.world.0.get_mut(path) {
            node.time = None;
        }
    }
    made.world
}

/// A result in the making.
struct Made<'a> {
    world: World,
    source: &'a World,
    /// Directories in which names came or went.
    changed: BTreeSet<String>,
    /// Paths whose times were said.
    timed: BTreeSet<String>,
}

impl Made<'_> {
    fn take(&mut self, item: &str) {
        if let Some(path) = item.strip_prefix('-') {
            let below = format!("{path}/");
            let nodes = &mut self.world.0;
            nodes.retain(|known, _| known != path && !known.starts_with(&below));
            self.touch_parent(path);
            return;
        }
        let mut words = item.split(',');
        let head = words.next().expect("an item");
        let path = self.head(head);
        for word in words {
            let node = self.world.0.get_mut(&path).expect(item);
            if let Some(time) = word.strip_prefix('@') {
                node.time = Some(time.parse().expect(item));
                self.timed.insert(path.clone());
            } else if word.contains(':') {
                node.owner = owner(word);
            } else {
                node.mode = u32::from_str_radix(word, 8).expect(item);
            }
        }
    }

    /// Puts what an item's first word says; returns its path.
    fn head(&mut self, head: &str) -> String {
        if let Some(path) = head.strip_prefix('+') {
            return self.put(path, Node::new("dir", 0o755));
        }
        if let Some((path, data)) = head.split_once('"') {
            let content = data.trim_end_matches('"').to_owned();
            let node = Node::new("file", 0o644);
            return self.put(path, Node { content, ..node });
        }
        if let Some((path, target)) = head.split_once("->") {
            let content = target.to_owned();
            let node = Node::new("symlink", 0o777);
            return self.put(path, Node { content, ..node });
        }
        if let Some((path, first)) = head.split_once('&') {
            let node = self.world.0.get(first).expect(head).clone();
            let first = Some(first.to_owned());
            return self.put(path, Node { first, ..node });
        }
        if let Some((path, from)) = head.split_once('=') {
            let node = self.source.0.get(from).expect(head).clone();
            self.timed.insert(path.to_owned());
            return self.put(
                path,
                Node {
                    first: None,
                    ..node
                },
            );
        }
        head.to_owned()
    }

    fn put(&mut self, path: &str, node: Node) -> String {
        let is_dir = node.kind == "dir";
        let old = self.world.0.insert(path.to_owned(), node);
        // A directory that takes over a directory's place is no new name.
        if !is_dir || old.is_none_or(|old| old.kind != "dir") {
            self.touch_parent(path);
        }
        path.to_owned()
    }

    fn touch_parent(&mut self, path: &str) {
        let (parent, _) = path.rsplit_once('/').expect("an absolute path");
        self.changed.insert(parent.to_owned());
    }
}
