//! `kill -9` at random moments.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use lamina_snapshotter::SnapshotStore;

use super::work;
use super::work::Worker;
use crate::support;
use crate::support::random::Random;

/// Names the store in the process that is to be killed.
const STORE: &str = "LAMINA_TEST_VICTIM_STORE";
const SEED: &str = "LAMINA_TEST_VICTIM_SEED";

const KILLS: u64 = 500;

/// Longest life of a victim in milliseconds, its start included.
const LIFE: usize = 60;

/// Layers that are left for the next victim to begin with; checking more takes longer than making them.
const KEPT_LAYERS: usize = 20;

/// What the victims do; nothing in the usual run of the tests.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(STORE) else {
        return;
    };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let store = SnapshotStore::open(Path::new(&folder), support::namespace()).unwrap();
    Worker::new(store, seed).run_until(Instant::now() + Duration::from_secs(60));
}

#[test]
fn killed_processes_leave_whole_layers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(5000);
    let mut most = 0;
    for seed in 0..KILLS {
        let life = Duration::from_millis(random.below(LIFE) as u64);
        kill_after(folder.path(), seed, life);
        let store = SnapshotStore::open(folder.path(), support::namespace()).unwrap();
        work::check(&store, &format!("victim {seed}"));
        let layers = store.all_layers();
        most = most.max(layers.len());
        if layers.len() > KEPT_LAYERS {
            drop(layers);
            store.sweep(&|_| false).unwrap();
        }
    }
    assert!(most > 0, "no victim lived long enough to make a layer");
}

fn kill_after(folder: &Path, seed: u64, life: Duration) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash::kill::victim", "--exact", "--nocapture"])
        .env(STORE, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(life);
    victim.kill().unwrap();
    victim.wait().unwrap();
}
