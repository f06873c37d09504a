//! Upper bounds for what must not become slow: loose, since a debug build on a busy machine is slow.

use std::time::Duration;
use std::time::Instant;

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Selection;
use lamina_types::CancelToken;
use rayon::iter::IntoParallelIterator as _;
use rayon::iter::ParallelIterator as _;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::write;

/// Files that are made, digested and linked.
const FILES: usize = 10_000;

#[test]
fn many_small_files() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let mut times = Vec::new();
    let mut timed = |what: &'static str, since: Instant| times.push((what, since.elapsed()));
    let start = Instant::now();
    (0..FILES / 100).into_par_iter().for_each(|index| {
        let dir = root
            .make_dir(format!("d{index}").as_bytes(), 0o755)
            .unwrap();
        for file in 0..100 {
            write(&dir, &format!("f{file}"), &"text ".repeat(100)).unwrap();
        }
    });
    timed("create", start);
    let start = Instant::now();
    let stack = LayerStack::new([commit(active)]);
    timed("commit", start);
    let start = Instant::now();
    let all = Selection::of_path("/");
    let first = stack.digest(&all, &CancelToken::new()).unwrap();
    timed("digest", start);
    let start = Instant::now();
    assert_eq!(stack.digest(&all, &CancelToken::new()).unwrap(), first);
    timed("digest again", start);
    let start = Instant::now();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let copy = active.writer().root().unwrap();
    let names = stack.tree().root().unwrap().read_dir().unwrap();
    names.into_par_iter().for_each(|name| {
        let from = stack.tree().root().unwrap().child(&name).unwrap();
        let to = copy.make_dir(&name, 0o755).unwrap();
        for name in from.read_dir().unwrap() {
            to.link_from(&name, &from.child(&name).unwrap()).unwrap();
        }
    });
    timed("link", start);
    let linked = commit(active);
    assert!(linked.usage_bytes() < stack.layers()[0].usage_bytes() / 4);
    for (what, time) in &times {
        assert!(*time < Duration::from_secs(20), "{what}: {times:?}");
    }
    if std::env::var_os("LAMINA_TEST_TIMES").is_some() {
        panic!("{times:?}");
    }
}
