//! The whole view of a step, of root's and of users', against what is written down in `tests/data` (rows
//! EXC-32, EXC-36).
//!
//! It was begun with what a step sees under BuildKit with runc; docs/differences.md has the reasons for
//! what is otherwise. `inside.txt` is of root's steps. Users' have what is in a file of their own, and
//! else the same.

use std::path::Path;

use lamina_executor::ExitStatus;

use crate::fixture;
use crate::rootless;
use crate::skip;
use crate::status;

/// Prints one section after another.
const SCRIPT: &str = include_str!("../data/inside.sh");
const OF_ROOT: &str = include_str!("../data/inside.txt");
const WITH_SUBORDINATE_IDS: &str = include_str!("../data/inside-subordinate.txt");
const WITH_A_SINGLE_ID: &str = include_str!("../data/inside-single.txt");

/// Sections that are others without the controller of devices of control groups of version 1: nodes
/// are then bound from the host.
const OF_DEVICES: [&str; 2] = ["mounts", "dev"];

/// What steps have of the process that started the daemon.
const INHERITED: &str = "inherited";

type Sections = Vec<(String, Vec<String>)>;

/// Among others: places of the kernel are masked and cannot be written to (CVE-2025-31133).
#[tokio::test(flavor = "multi_thread")]
async fn of_roots_steps() {
    let Some(world) = fixture() else { return };
    let (finished, stdout, stderr) = world.run(world.shell(SCRIPT)).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    let mut expected = sections(OF_ROOT);
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        skip::<()>("mounts, dev: no controller of devices");
        expected.retain(|(name, _)| !OF_DEVICES.contains(&name.as_str()));
    }
    compare(&stdout, expected);
}

#[test]
fn of_steps_of_users() {
    for (subordinate, own) in [(true, WITH_SUBORDINATE_IDS), (false, WITH_A_SINGLE_ID)] {
        let Some((stdout, stderr)) = rootless::shell(subordinate, SCRIPT) else {
            continue;
        };
        let stdout = stdout.strip_suffix("Code(0)\n");
        let stdout = stdout.unwrap_or_else(|| panic!("{stderr}"));
        compare(stdout, over(sections(OF_ROOT), sections(own)));
    }
}

/// Puts the sections of `own` in the place of those of the same name.
fn over(mut expected: Sections, own: Sections) -> Sections {
    for (name, lines) in own {
        let same = expected.iter_mut().find(|(known, _)| *known == name);
        same.expect("a section of root's").1 = lines;
    }
    expected
}

fn compare(printed: &str, expected: Sections) {
    let seen = sections(printed);
    for (name, expected) in expected {
        let lines = seen.iter().find(|(known, _)| *known == name);
        let lines = &lines.unwrap_or_else(|| panic!("no section {name}")).1;
        if name == INHERITED {
            assert_eq!(*lines, inherited(), "{name}");
        } else {
            compare_section(&name, lines, &expected);
        }
    }
}

fn compare_section(name: &str, seen: &[String], expected: &[String]) {
    for line in expected {
        // What the kernel here may lack is marked.
        let optional = line.strip_prefix("? ");
        let wanted = optional.unwrap_or(line);
        let found = seen.iter().any(|line| line == wanted);
        assert!(
            found || optional.is_some(),
            "{name}: no {wanted:?} in {seen:#?}"
        );
    }
    let is_known = |line: &String| {
        let mut plain = expected.iter().map(|one| one.trim_start_matches("? "));
        plain.any(|one| one == line)
    };
    let unknown: Vec<_> = seen.iter().filter(|line| !is_known(line)).collect();
    assert!(unknown.is_empty(), "{name}: unexpected {unknown:#?}");
}

/// Cuts at lines `== name`, and trims what differs between machines.
fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    for line in text.lines().map(str::trim_end) {
        match (line.strip_prefix("== "), sections.last_mut()) {
            (Some(name), _) => sections.push((name.to_owned(), Vec::new())),
            (None, Some((_, lines))) if !line.is_empty() => lines.push(plain(line)),
            _ => {}
        }
    }
    sections
}

fn plain(line: &str) -> String {
    let user = rootless::USER;
    // Only some kernels say the first.
    let line = line.replace(",inode64", "");
    let line = line.replace(&format!(",uid={user},gid={user}"), "");
    match line.split_once(' ') {
        Some((kind, name)) if name.starts_with(kind) && name.contains(":[") => {
            let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
            let is_host = own.as_os_str() == name;
            format!("{kind} {}", if is_host { "host" } else { "own" })
        }
        _ => line,
    }
}

/// The same of this process.
fn inherited() -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).expect("read");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = read("limits").lines().skip(1).map(words).collect();
    lines.push(format!("oom {}", read("oom_score_adj").trim()));
    lines
}
