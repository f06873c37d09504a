//! Many small files at once: by all threads, and with no more read or stored than needed.

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
    (0..FILES / 100).into_par_iter().for_each(|index| {
        let dir = root
            .make_dir(format!("d{index}").as_bytes(), 0o755)
            .unwrap();
        for file in 0..100 {
            write(&dir, &format!("f{file}"), &"text ".repeat(100)).unwrap();
        }
    });
    let stack = LayerStack::new([commit(active)]);
    let all = Selection::of_path("/");
    let first = stack.digest(&all, &CancelToken::new()).unwrap();
    assert_eq!(stack.digest(&all, &CancelToken::new()).unwrap(), first);
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
    let linked = LayerStack::new([commit(active)]);
    assert_eq!(linked.digest(&all, &CancelToken::new()).unwrap(), first);
    assert!(linked.layers()[0].usage_bytes() < stack.layers()[0].usage_bytes() / 4);
}

/// However many layers there are, a merge and the difference to an ancestor are lists of them: nothing
/// is made.
#[test]
fn lists_of_a_hundred_layers_make_no_layer() {
    let fixture = Fixture::new();
    let cancel = CancelToken::new();
    let parts: Vec<LayerStack> = (0..100)
        .map(|index| {
            let name = format!("f{index}");
            let layer = fixture.layer(&LayerStack::empty(), |root| write(root, &name, &name));
            LayerStack::new([layer])
        })
        .collect();
    let merged = fixture.store.merge(&parts, &cancel).unwrap();
    assert_eq!(merged.layers().len(), parts.len());
    let lower = LayerStack::new(merged.layers()[..50].iter().cloned());
    let rest = fixture.store.diff(&lower, &merged, &cancel).unwrap();
    assert_eq!(rest.layers().len(), 50);
    assert_eq!(fixture.store.all_layers().len(), parts.len());
}
