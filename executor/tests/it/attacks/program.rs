//! The program that the runtime is started from: steps can reach it, and not change it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lamina_types::CancelToken;

use super::directory;
use crate::PROGRAM;
use crate::containers::SOME;
use crate::containers::command;
use crate::containers::joined;
use crate::containers::line;
use crate::containers::script;
use crate::containers::start;
use crate::fixture;

/// A name that leads to the program of whoever starts it.
const PREPARE: &str = "ln -s /proc/self/exe /trap; echo up; exec sleep 1000";

/// Opens the program of a process that was started by that name, ends the process so that the program
/// is not busy, and writes (CVE-2019-5736).
const ATTACK: &str = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /bin/busybox | '') ;; *) \
                      victim=$p; esac; done; stat -L -c 'found %D:%i' $victim/exe; exec \
                      3<$victim/exe; kill -9 ${victim#/proc/}; while [ -e $victim/exe ]; do sleep \
                      0.01; done; echo owned >/proc/self/fd/3; echo owned >>/proc/self/fd/3";

#[tokio::test(flavor = "multi_thread")]
async fn a_container_cannot_change_the_program_that_joins_it() {
    let Some(world) = fixture() else { return };
    let before = std::fs::metadata(PROGRAM).expect("the program");
    let content = std::fs::read(PROGRAM).expect("the program");
    let mut spec = world.shell(PREPARE);
    // That of the tests is linked with libraries, which an image would bring along.
    spec.mounts = ["/lib", "/lib64"]
        .into_iter()
        .filter(|dir| Path::new(dir).exists())
        .map(|dir| directory(dir, Path::new(dir), ""))
        .collect();
    let (mut first, sandbox) = start(&world, spec, SOME).await.expect("launched");
    line(&mut first.stdout).await;
    let (trap, cancel) = (command(&["/trap", "wait"]), CancelToken::new());
    let trapped = world.executor.join(&sandbox, trap, SOME, &cancel).await;
    let mut trapped = trapped.expect("it runs our program");
    assert_eq!(line(&mut trapped.stdout).await, "waiting\n");
    let (_, out, err) = joined(&world, &sandbox, script(ATTACK)).await;
    assert!(out.starts_with("found "), "{out} {err}");
    // Not even the same file, which may be open for reading only.
    assert_ne!(
        out.trim(),
        format!("found {:x}:{}", before.dev(), before.ino())
    );
    let refused = ["Read-only file system", "Operation not permitted"];
    assert!(refused.iter().any(|text| err.contains(text)), "{err}");
    assert_eq!(std::fs::read(PROGRAM).expect("the program"), content);
}
