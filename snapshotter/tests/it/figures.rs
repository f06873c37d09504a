//! What layers may take: time for steps, lists, seals and digests.
//!
//! `scripts/bench store` runs these optimised and prints how much of its bound each takes. What can be said
//! without a clock, such as that nothing is read twice, other tests say.

use std::time::Duration;
use std::time::Instant;

use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::Selection;
use lamina_types::CancelToken;
use rayon::iter::IntoParallelIterator as _;
use rayon::iter::ParallelIterator as _;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::write;

/// Tries of what takes seconds.
const LONG_TRIES: usize = 3;

const FILES: usize = 50_000;
const FILES_PER_DIR: usize = 500;

/// Prints the best of some tries beside its bound.
#[expect(clippy::print_stderr, reason = "figures are for the reader of the log")]
fn figure(what: &str, bound: Duration, tries: usize, mut run: impl FnMut() -> Duration) {
    let best = (0..tries).map(|_| run()).min().unwrap();
    let ratio = best.as_secs_f64() / bound.as_secs_f64();
    eprintln!("figure: {what}: {best:.2?} of {bound:.2?}, ratio {ratio:.2}");
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    drop(std::hint::black_box(run()));
    start.elapsed()
}

fn single(fixture: &Fixture, name: &str) -> Layer {
    fixture.layer(&LayerStack::empty(), |root| {
        write(&root.make_dir(b"etc", 0o755)?, name, name)
    })
}

fn stack_of(fixture: &Fixture, count: usize) -> LayerStack {
    LayerStack::new((0..count).map(|index| single(fixture, &format!("f{index}"))))
}

#[test]
#[ignore = "a measurement, for scripts/bench store"]
fn an_empty_step() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("an empty step") else {
        return;
    };
    let lower = stack_of(&fixture, 10);
    let step = |overlay: &KernelOverlay| {
        let active = fixture.store.prepare(&lower).unwrap();
        drop(overlay.mount_active(&active).unwrap());
        commit(active)
    };
    figure(
        "prepare, mount, unmount and commit on 10 layers",
        Duration::from_millis(3),
        20,
        || timed(|| step(&overlay)),
    );
}

#[test]
#[ignore = "a measurement, for scripts/bench store"]
fn merge_and_diff_of_lists() {
    let fixture = Fixture::new();
    let cancel = CancelToken::new();
    let parts: Vec<LayerStack> = (0..100)
        .map(|index| LayerStack::new([single(&fixture, &format!("f{index}"))]))
        .collect();
    let merge = || fixture.store.merge(&parts, &cancel).unwrap();
    let bound = Duration::from_millis(1);
    figure("merge of 100 layers", bound, 20, || timed(merge));
    let upper = merge();
    let lower = LayerStack::new(upper.layers()[..50].iter().cloned());
    figure("difference to an ancestor", bound, 20, || {
        timed(|| fixture.store.diff(&lower, &upper, &cancel).unwrap())
    });
}

#[test]
#[ignore = "a measurement, for scripts/bench store"]
fn a_layer_of_many_files() {
    let fixture = Fixture::new();
    let mut stack = LayerStack::empty();
    figure(
        "commit of 50,000 new files",
        Duration::from_millis(300),
        LONG_TRIES,
        || {
            let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
            let root = active.writer().root().unwrap();
            (0..FILES / FILES_PER_DIR)
                .into_par_iter()
                .for_each(|index| {
                    let dir = root.make_dir(format!("d{index}").as_bytes(), 0o755);
                    for file in 0..FILES_PER_DIR {
                        write(dir.as_ref().unwrap(), &format!("f{file}"), "text").unwrap();
                    }
                });
            let start = Instant::now();
            stack = LayerStack::new([commit(active)]);
            start.elapsed()
        },
    );
    let all = Selection {
        include: vec!["**/f*".to_owned()],
        ..Selection::of_path("/")
    };
    let cancel = CancelToken::new();
    let first = stack.digest(&all, &cancel).unwrap();
    figure(
        "a selection of 50,000 files, digests known",
        Duration::from_millis(200),
        LONG_TRIES,
        || timed(|| assert_eq!(stack.digest(&all, &cancel).unwrap(), first)),
    );
}
