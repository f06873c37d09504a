//! A context of 50,000 files, one of which has changed: that one is transferred and hashed, and no other
//! (rows SRC-12, SRC-13, FIL-25).
//!
//! What is transferred is counted by the client, which keeps a list of what it is asked for. That nothing
//! else is hashed is proven by foul play: other data is written into all files of the layer, and whoever
//! read one of them would see it.

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Selection;
use lamina_testkit::layers;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::client::Sent;
use crate::remote::engine;
use crate::remote::offer;
use crate::remote::requested;
use crate::support::content_digest;
use crate::support::context;
use crate::support::entry;

const DIRECTORIES: usize = 1_000;
const FILES_PER_DIRECTORY: usize = 50;

/// The file that changes.
const CHANGED: &str = "d0500/f07";

fn files(changed_data: &'static str) -> Vec<Sent> {
    let mut files = Vec::new();
    for directory in 0..DIRECTORIES {
        let directory = format!("d{directory:04}");
        files.push(Sent::dir(&directory));
        for file in 0..FILES_PER_DIRECTORY {
            let path = format!("{directory}/f{file:02}");
            files.push(match path == CHANGED {
                true => Sent::file(&path, changed_data),
                false => Sent::file(&path, path.clone()),
            });
        }
    }
    files
}

/// The key of a copy of one file.
fn digest_of(stack: &LayerStack, path: &str) -> Digest {
    let digest = stack.digest(&Selection::of_path(path), &CancelToken::new());
    digest.expect("digested")
}

#[test]
fn of_a_large_context_only_the_changed_file_is_transferred_and_hashed() {
    let (engine, script) = engine();
    offer(&script, &files("old"));
    let first = engine.transfer(&context());
    let all = DIRECTORIES * FILES_PER_DIRECTORY;
    assert_eq!(requested(&script).len(), all);
    offer(&script, &files("old"));
    assert_eq!(engine.transfer(&context()), first);
    assert!(requested(&script).is_empty());
    offer(&script, &files("newer"));
    let second = engine.transfer(&context());
    assert_eq!(requested(&script), [CHANGED]);
    let (before, after) = (layers::inodes(&first), layers::inodes(&second));
    assert_eq!(after.len(), all);
    assert_eq!(after.difference(&before).count(), 1);
    layers::each_file(&second, &mut layers::tamper);
    let (other, script) = self::engine();
    offer(&script, &files("newer"));
    let fresh = other.transfer(&context());
    let path = format!("/{CHANGED}");
    assert_eq!(digest_of(&second, &path), digest_of(&fresh, &path));
    assert_eq!(content_digest(&second), content_digest(&fresh));
    assert_eq!(entry(&second, &path).stat().size, 5);
}
