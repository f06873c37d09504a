//! Scenarios in which BuildKit serves stale data or fails without need, and we do not. Each has a
//! row in `docs/differences.md`.

const OWN_MODE: &str = "the mode of a copied or mounted directory itself is part of its content";
const SAME_SIZE_AND_TIME: &str = "changed content is noticed although size and mtime are equal";
const EMPTY_TREE: &str = "a wildcard that may match nothing may do so in an empty tree";

const TOUCHED: &str = "a directory with the content that it had before is the same, also to a step that \
                       does not read it by content";

const BETTER: &[(&str, &str)] = &[
    ("copy-matrix/dir", OWN_MODE),
    ("copy-matrix/include all txt", OWN_MODE),
    ("copy-matrix/include dir exclude z", OWN_MODE),
    ("copy-matrix/whole nofollow", OWN_MODE),
    ("exec-mount-matrix/ro dir", OWN_MODE),
    ("exec-mount-matrix/ro dir cache on", OWN_MODE),
    ("exec-mount-matrix/ro dir cache off", TOUCHED),
    ("exec-mount-matrix/ro through link", OWN_MODE),
    ("exec-mount-matrix/rw dir with output", TOUCHED),
    (
        "local/equal size and mtime with other hint is seen",
        SAME_SIZE_AND_TIME,
    ),
    (
        "metadata/content changed with equal size and mtime",
        SAME_SIZE_AND_TIME,
    ),
    ("random/graph 08", EMPTY_TREE),
    ("random/graph 42", EMPTY_TREE),
];

/// Returns why the scenario `name` is meant to go otherwise.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    let row = BETTER.iter().find(|(better, _)| *better == name);
    row.map(|(_, reason)| *reason)
}
