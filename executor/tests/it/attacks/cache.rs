//! Cache mounts, whose contents another step is changing meanwhile.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use lamina_executor::ExitStatus;

use super::SECRET;
use super::Swapper;
use super::directory;
use super::is_over;
use super::tmpfs;
use crate::Fixture;
use crate::fixture;

/// A cache directory, with a place of the host beside it.
fn cache(world: &Fixture) -> PathBuf {
    let host = world.state.path().join("host");
    let cache = world.state.path().join("cache");
    for dir in ["d", "real", "real/d"] {
        std::fs::create_dir_all(cache.join(dir)).expect("dirs");
    }
    std::fs::create_dir_all(host.join("d")).expect("dirs");
    for file in ["f", "d/f"] {
        std::fs::write(host.join(file), SECRET).expect("written");
    }
    for file in ["real/f", "real/d/f", "d/f"] {
        std::fs::write(cache.join(file), "of the cache").expect("written");
    }
    symlink(&host, cache.join("link")).expect("link");
    cache
}

/// The part of a cache that is mounted becomes a link to the host while the mount is made: its own
/// name, and one on the way (CVE-2024-23651 and GHSA-m3r6-h7wv-7xxv, CVE-2024-11218 and GHSA-5vpc-35f4-r8w6).
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_becomes_a_link_never_shows_the_host() {
    let Some(world) = fixture() else { return };
    let cache = cache(&world);
    let begin = Instant::now();
    let (mut shown, mut refused) = (0, 0);
    let swapper = Swapper::start(&cache, "real", "link");
    while !is_over(begin) {
        for selector in ["real", "real/d"] {
            let mut spec = world.shell("cat /m/f");
            spec.mounts = vec![directory("/m", &cache, selector)];
            let (finished, stdout, stderr) = world.run(spec).await;
            match finished {
                Ok(_) => {
                    assert_eq!(stdout, "of the cache", "{selector}: {stderr}");
                    shown += 1;
                }
                Err(error) => {
                    let expected = format!("{selector}: no such file or directory");
                    assert_eq!(error.to_string(), expected);
                    refused += 1;
                }
            }
        }
    }
    drop(swapper);
    println!("{shown} times shown, {refused} times refused");
    assert!(shown > 0, "the race never let anybody win");
}

/// A mount inside a cache: the place becomes a link to where the host, `/proc` or `/dev` are
/// (CVE-2024-23651, CVE-2025-52881 by parallel mounts).
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_becomes_a_link_leads_nowhere_else() {
    let Some(world) = fixture() else { return };
    let cache = cache(&world);
    let host = world.state.path().join("host");
    for (name, target) in [
        ("host", host.to_str().expect("text")),
        ("up", "../../../../../../../../etc"),
        ("proc", "/proc"),
        ("setting", "/proc/sys"),
        ("masked", "/proc/acpi"),
    ] {
        // Either may have the other's name afterwards.
        let (place, link) = (format!("{name}-place"), format!("{name}-link"));
        std::fs::create_dir(cache.join(&place)).expect("made");
        symlink(target, cache.join(&link)).expect("link");
        let swapper = Swapper::start(&cache, &place, &link);
        let begin = Instant::now();
        let (mut run, mut refused) = (0, 0);
        while begin.elapsed() < super::RACE / 4 {
            let script = "grep -c '^[a-z]* /proc/sys proc ro,' /proc/mounts; stat -f -c %T /proc; \
                          echo 1 2>/dev/null > /proc/sys/kernel/hostname && echo written";
            let mut spec = world.shell(script);
            spec.mounts = vec![directory("/c", &cache, ""), tmpfs(&format!("/c/{place}"))];
            let (finished, stdout, stderr) = world.run(spec).await;
            match finished {
                Ok(finished) => {
                    assert_eq!(stdout, "1\nproc\n", "{name}: {stderr}");
                    assert_ne!(finished.status, ExitStatus::Code(0), "{name}: written");
                    run += 1;
                }
                Err(_) => refused += 1,
            }
        }
        drop(swapper);
        println!("{name}: {run} times run, {refused} times refused");
    }
    assert_eq!(
        std::fs::read_to_string(host.join("f")).expect("there"),
        SECRET
    );
}
