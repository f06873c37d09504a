//! Scenarios in which BuildKit serves stale data or fails without need, and we do not. Each has a
//! row in `docs/differences.md`.
//!
//! A row says how its differences begin, so that a build that fails, or gives something else again,
//! is no improvement.

const OWN_MODE: &str = "the mode of a copied or mounted directory itself is part of its content";
const SAME_SIZE_AND_TIME: &str = "changed content is noticed although size and mtime are equal";
const EMPTY_TREE: &str = "a wildcard that may match nothing may do so in an empty tree";
const TOUCHED: &str = "a directory with the content that it had before is the same, also to a step that \
                       does not read it by content";

/// The step runs whenever the mode has changed.
const RUNS_FOR_MODE: &[&str] = &[
    "build 3: x ran [2], golden []",
    r#"build 3: tree: ours Some(Entry { path: "/r", kind: "file""#,
    "build 6: x ran [3], golden [2]",
    r#"build 6: tree: ours Some(Entry { path: "/r", kind: "file""#,
];

/// The step runs once for each content.
const RUNS_FOR_CONTENT: &[&str] = &[
    "build 5: x ran [], golden [5]",
    r#"build 5: tree: ours Some(Entry { path: "/r", kind: "file""#,
    "build 6: x ran [5], golden [6]",
    r#"build 6: tree: ours Some(Entry { path: "/r", kind: "file""#,
    "build 7: x ran [], golden [7]",
    r#"build 7: tree: ours Some(Entry { path: "/r", kind: "file""#,
];

/// What BuildKit fails with, after the number of the build.
const NO_MATCH: &str = "should fail: failed to solve: failed to compute cache key: failed to \
                        calculate checksum of ref @ref::: /*: no such file or directory";

/// Name, reason, and how the differences begin.
const BETTER: &[(&str, &str, &[&str])] = &[
    (
        "copy-matrix/dir",
        OWN_MODE,
        &[r#"build 6: tree: ours Some(Entry { path: "/out", kind: "dir", mode: "0700""#],
    ),
    (
        "copy-matrix/include all txt",
        OWN_MODE,
        &[r#"build 6: tree: ours Some(Entry { path: "/out/dir", kind: "dir", mode: "0700""#],
    ),
    (
        "copy-matrix/include dir exclude z",
        OWN_MODE,
        &[r#"build 6: tree: ours Some(Entry { path: "/out/dir", kind: "dir", mode: "0700""#],
    ),
    (
        "copy-matrix/whole nofollow",
        OWN_MODE,
        &[r#"build 6: tree: ours Some(Entry { path: "/dir", kind: "dir", mode: "0700""#],
    ),
    ("exec-mount-matrix/ro dir", OWN_MODE, RUNS_FOR_MODE),
    ("exec-mount-matrix/ro dir cache on", OWN_MODE, RUNS_FOR_MODE),
    ("exec-mount-matrix/ro through link", OWN_MODE, RUNS_FOR_MODE),
    (
        "exec-mount-matrix/ro dir cache off",
        TOUCHED,
        RUNS_FOR_CONTENT,
    ),
    (
        "exec-mount-matrix/rw dir with output",
        TOUCHED,
        RUNS_FOR_CONTENT,
    ),
    (
        "local/equal size and mtime with other hint is seen",
        SAME_SIZE_AND_TIME,
        &[
            r#"build 1: tree: ours Some(Entry { path: "/f", kind: "file""#,
            r#"build 3: tree: ours Some(Entry { path: "/f", kind: "file""#,
        ],
    ),
    (
        "metadata/content changed with equal size and mtime",
        SAME_SIZE_AND_TIME,
        &[
            r#"build 1: tree: ours Some(Entry { path: "/d/f", kind: "file""#,
            r#"build 4: tree: ours Some(Entry { path: "/f", kind: "file""#,
            r#"build 7: tree: ours Some(Entry { path: "/d/f", kind: "file""#,
        ],
    ),
    ("random/graph 08", EMPTY_TREE, &[NO_MATCH]),
    (
        "random/graph 42",
        EMPTY_TREE,
        &[
            NO_MATCH,
            "build 0: exec8 ran [0], golden []",
            "build 5: exec8 ran [1], golden []",
        ],
    ),
];

/// Returns why the scenario `name` is meant to go otherwise, if these differences are meant and no
/// others.
pub(super) fn reason(name: &str, differences: &[String]) -> Option<&'static str> {
    let (_, reason, meant) = BETTER.iter().find(|(better, ..)| *better == name)?;
    let begins = |difference: &String, sign: &str| {
        let (_, outcome) = difference.split_once(": ").unwrap_or_default();
        difference.starts_with(sign) || outcome == sign
    };
    let all_meant = differences
        .iter()
        .all(|difference| meant.iter().any(|sign| begins(difference, sign)));
    let all_seen = meant.iter().all(|sign| {
        differences
            .iter()
            .any(|difference| begins(difference, sign))
    });
    (all_meant && all_seen).then_some(*reason)
}
