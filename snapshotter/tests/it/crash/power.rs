//! Power cuts: a file system that loses what it had not flushed.
//!
//! An ext4 file system on a loop device is shut down by `EXT4_IOC_SHUTDOWN` without a flush of its
//! journal, in the middle of the work, and mounted again. That is how the kernel's own file system tests
//! cut the power. It needs root, so it is done in a mount namespace that goes away with its process.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use lamina_snapshotter::SnapshotStore;
use lamina_types::LayerId;

use super::work;
use super::work::Worker;
use crate::support;
use crate::support::random::Random;
use crate::support::skipped;
use crate::support::sys;

/// Set in the process that has the mount namespace.
const INSIDE: &str = "LAMINA_TEST_POWER_CUTS";

const CUTS: u64 = 25;

/// Longest time of work before a cut, in milliseconds.
const WORK: usize = 250;

const DISK_BYTES: u64 = 256 << 20;

#[test]
fn power_cuts_leave_whole_layers_and_all_that_were_flushed() {
    if std::env::var_os(INSIDE).is_some() {
        return cut_often();
    }
    if support::in_user_namespace() || !rustix::process::geteuid().is_root() {
        return skipped("power cuts", "mounting a disk needs root");
    }
    let own = std::thread::current();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args([own.name().unwrap(), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skipped("power cuts", &format!("unshare: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    if let Some(reason) = text.lines().find(|line| line.starts_with("skipped:")) {
        skipped("power cuts", reason);
    }
}

fn cut_often() {
    let folder = tempfile::tempdir().unwrap();
    let disk = match Disk::make(folder.path()) {
        Ok(disk) => disk,
        Err(reason) => return skipped("a disk to cut off", &reason),
    };
    let (mut torn, mut dropped) = (0, 0);
    let mut random = Random::new(6000);
    for seed in 0..CUTS {
        let safe = disk.work_and_cut(seed, random.below(WORK) as u64);
        disk.mount().unwrap();
        let folders = disk.folders();
        torn += folders - disk.whole_layers();
        disk.boot();
        let store = disk.open();
        work::check(&store, &format!("cut {seed}"));
        let kept: BTreeSet<LayerId> = store.all_layers().iter().map(|layer| layer.id()).collect();
        let lost: Vec<&LayerId> = safe.difference(&kept).collect();
        assert!(lost.is_empty(), "cut {seed}: flushed and lost: {lost:?}");
        dropped += folders - kept.len();
        drop(store);
        disk.unmount();
    }
    assert!(torn > 0, "no cut has torn a layer: this is no power cut");
    assert!(dropped >= torn, "{dropped} layers dropped, {torn} torn");
}

/// A disk in a file, with a store on it.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(folder: &Path) -> Result<Self, String> {
        let (image, at) = (folder.join("disk"), folder.join("at"));
        std::fs::create_dir(&at).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let disk = Self { image, at };
        disk.mount()?;
        disk.unmount();
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }

    fn unmount(&self) {
        run(Command::new("umount").arg(&self.at)).unwrap();
    }

    fn store(&self) -> PathBuf {
        self.at.join("layers")
    }

    fn open(&self) -> SnapshotStore {
        SnapshotStore::open(&self.store(), support::namespace()).unwrap()
    }

    /// Makes the store believe that the machine was started again.
    fn boot(&self) {
        std::fs::create_dir_all(self.store()).unwrap();
        std::fs::write(self.store().join("boot"), "another boot").unwrap();
    }

    /// Works for a while and cuts the power meanwhile; returns the layers that have to be there.
    fn work_and_cut(&self, seed: u64, after_ms: u64) -> BTreeSet<LayerId> {
        self.mount().unwrap();
        let worker = Worker::new(self.open(), seed);
        let switch = std::fs::File::open(&self.at).unwrap();
        let working =
            std::thread::spawn(move || worker.run_until(Instant::now() + Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(after_ms));
        sys::cut_power(&switch).unwrap();
        drop(switch);
        let safe = working.join().unwrap();
        self.unmount();
        safe
    }

    /// Counts the layers that are whole, flushed or not, as a store finds them that trusts the disk.
    fn whole_layers(&self) -> usize {
        std::fs::create_dir_all(self.store()).unwrap();
        let now = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
        std::fs::write(self.store().join("boot"), now).unwrap();
        let layers = self.open().all_layers();
        let whole = layers.iter().filter(|layer| work::fault(layer).is_none());
        whole.count()
    }

    /// Counts the layers that have a name on the disk.
    fn folders(&self) -> usize {
        let names = std::fs::read_dir(self.store()).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_id = |name: &String| u64::from_str_radix(name, 16).is_ok();
        names.filter(is_id).count()
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
