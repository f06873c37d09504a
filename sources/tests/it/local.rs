//! What a transfer makes of a directory (rows SRC-08 to SRC-11, SVC-04).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_session::LocalOwner;
use lamina_session::LocalSession;
use lamina_testkit::skipped;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;

use crate::support::Engine;
use crate::support::context;
use crate::support::directory;
use crate::support::entry;
use crate::support::list;
use crate::support::paths;
use crate::support::write;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

#[test]
fn everything_but_sockets_comes_along() {
    let dir = directory(&[("file", "data"), ("d/sub/x", ""), ("empty/", "")]);
    let at = |name: &str| dir.path().join(name);
    chmod(&at("file"), 0o4751);
    chmod(&at("d/sub/x"), 0o600);
    chmod(&at("d"), 0o1777);
    symlink("../nowhere", at("d/link")).expect("linked");
    fs::hard_link(at("file"), at("d/hard")).expect("linked");
    rustix::fs::mknodat(
        CWD,
        at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    let engine = Engine::with_context(dir.path());
    let stack = engine.transfer(&context());
    let owner = "0:0";
    assert_eq!(
        list(&stack),
        [
            format!("/d Directory 1777 {owner}"),
            format!("/d/hard File 4751 {owner} \"data\""),
            format!("/d/link Symlink 777 {owner} -> ../nowhere"),
            format!("/d/sub Directory 755 {owner}"),
            format!("/d/sub/x File 600 {owner} \"\""),
            format!("/empty Directory 755 {owner}"),
            format!("/fifo Fifo 640 {owner}"),
            format!("/file File 4751 {owner} \"data\""),
        ]
    );
    assert_eq!(
        entry(&stack, "/file").origin(),
        entry(&stack, "/d/hard").origin()
    );
}

#[test]
fn times_and_attributes_are_kept() {
    let dir = directory(&[("d/file", "data")]);
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("d/file"))
        .expect("opens");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    if rustix::fs::fsetxattr(&file, "user.note", b"v", rustix::fs::XattrFlags::empty()).is_err() {
        skipped("no user attributes in the folder for temporary files");
        return;
    }
    file.set_modified(time).expect("set");
    fs::File::open(dir.path().join("d"))
        .and_then(|d| d.set_modified(time))
        .expect("set");
    let engine = Engine::with_context(dir.path());
    let stack = engine.transfer(&context());
    for path in ["/d", "/d/file"] {
        let mtime = entry(&stack, path).stat().mtime_ns;
        assert_eq!(mtime, 1_000_000_000_123_456_789, "{path}");
    }
    let xattrs = entry(&stack, "/d/file").stat().xattrs.clone();
    assert_eq!(xattrs, [(b"user.note".to_vec(), b"v".to_vec())].into());
}

#[test]
fn owners_are_as_the_session_says() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can give files away");
        return;
    }
    let dir = directory(&[("setuid", "")]);
    let path = dir.path().join("setuid");
    std::os::unix::fs::chown(&path, Some(1234), Some(5678)).expect("given");
    chmod(&path, 0o4755);
    for (owner, wanted) in [
        (LocalOwner::default(), "/setuid File 4755 0:0 \"\""),
        (LocalOwner::AsIs, "/setuid File 4755 1234:5678 \"\""),
        (
            LocalOwner::Fixed { uid: 7, gid: 8 },
            "/setuid File 4755 7:8 \"\"",
        ),
    ] {
        let session = LocalSession::builder()
            .local_dir("context", dir.path())
            .local_owner(owner);
        let engine = Engine::new(session);
        assert_eq!(list(&engine.transfer(&context())), [wanted], "{owner:?}");
    }
}

#[test]
fn patterns_choose() {
    let dir = directory(&[
        ("a.txt", ""),
        ("b.md", ""),
        ("src/main.rs", ""),
        ("src/deep/x.txt", ""),
        ("target/out", ""),
    ]);
    symlink("src/main.rs", dir.path().join("main")).expect("linked");
    let engine = Engine::with_context(dir.path());
    for (attr, value, wanted) in [
        ("local.includepattern", r#"["a.txt"]"#, vec!["a.txt"]),
        (
            "local.includepattern",
            r#"["src"]"#,
            vec!["src", "src/deep", "src/deep/x.txt", "src/main.rs"],
        ),
        (
            "local.includepattern",
            r#"["**/*.txt"]"#,
            vec!["a.txt", "src", "src/deep", "src/deep/x.txt"],
        ),
        ("local.includepattern", r#"["missing"]"#, vec![]),
        (
            "local.excludepatterns",
            r#"["src","target","*.md"]"#,
            vec!["a.txt", "main"],
        ),
        (
            "local.excludepatterns",
            r#"["*","!src/deep"]"#,
            vec!["src", "src/deep", "src/deep/x.txt"],
        ),
        ("local.excludepatterns", r#"["**"]"#, vec![]),
        (
            "local.followpaths",
            r#"["main"]"#,
            vec!["main", "src", "src/main.rs"],
        ),
        (
            "local.followpaths",
            r#"["."]"#,
            vec![
                "a.txt",
                "b.md",
                "main",
                "src",
                "src/deep",
                "src/deep/x.txt",
                "src/main.rs",
                "target",
                "target/out",
            ],
        ),
    ] {
        let stack = engine.transfer(&context().attr(attr, value));
        assert_eq!(paths(&stack), wanted, "{attr}={value}");
    }
    let error = engine
        .get(&context().attr("local.includepattern", r#"["[a"]"#))
        .expect_err("malformed");
    let text = error.to_string();
    assert!(text.starts_with("invalid includepatterns: "), "{text}");
}

/// A small generator; the seed is in the message of whatever fails.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("small")]
    }

    fn path(&mut self) -> String {
        let depth = self.below(3) + 1;
        let names: Vec<&str> = (0..depth)
            .map(|_| self.pick(&["a", "b", "ab", "c.x"]))
            .collect();
        names.join("/")
    }

    fn pattern(&mut self) -> String {
        let not = self.pick(&["", "", "!"]);
        let before = self.pick(&["", "", "**/", "a/"]);
        let middle = self.pick(&["a", "*", "b*", "*.x", "?", "ab/c.x"]);
        let after = self.pick(&["", "", "/*", "/**"]);
        format!("{not}{before}{middle}{after}")
    }
}

/// What the patterns say of a path by way of all its parents, which is not always what they say
/// of the path alone: other clients have it so.
fn matches(list: &PatternList, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at);
    let start = (false, ParentMatch::default());
    let last = ends.chain([path.len()]).fold(start, |(_, parents), end| {
        list.matches(&path.as_bytes()[..end], &parents)
    });
    last.0
}

/// The oracle looks at every path there is, and skips nothing.
#[test]
fn random_patterns_choose_as_if_nothing_were_skipped() {
    let root = directory(&[]);
    let dir = root.path().join("context");
    let engine = Engine::with_context(&dir);
    for seed in 0..200 {
        let mut random = Random(seed);
        drop(fs::remove_dir_all(&dir));
        fs::create_dir(&dir).expect("made");
        for _ in 0..12 {
            let path = dir.join(random.path());
            if fs::create_dir_all(path.parent().expect("below")).is_ok() && !path.exists() {
                fs::write(&path, "").expect("written");
            }
        }
        let list = |random: &mut Random| -> Vec<String> {
            (0..random.below(3)).map(|_| random.pattern()).collect()
        };
        let (include, exclude) = (list(&mut random), list(&mut random));
        let request = context()
            .attr(
                "local.includepattern",
                &serde_json::to_string(&include).expect("json"),
            )
            .attr(
                "local.excludepatterns",
                &serde_json::to_string(&exclude).expect("json"),
            );
        let found = paths(&engine.transfer(&request));

        let includes = PatternList::new(&include).expect("fits");
        let excludes = PatternList::new(&exclude).expect("fits");
        let mut wanted = BTreeSet::new();
        for path in all_paths(&dir) {
            let taken =
                (include.is_empty() || matches(&includes, &path)) && !matches(&excludes, &path);
            if taken {
                let ends = path.match_indices('/').map(|(at, _)| at);
                wanted.extend(ends.chain([path.len()]).map(|end| path[..end].to_owned()));
            }
        }
        let found: BTreeSet<String> = found.into_iter().collect();
        assert_eq!(
            found, wanted,
            "seed {seed}: include {include:?} exclude {exclude:?}"
        );
    }
}

fn all_paths(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("readable").path();
            let relative = path.strip_prefix(root).expect("below");
            found.push(relative.to_str().expect("text").to_owned());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

#[test]
fn unusable_directories_are_reported() {
    let dir = directory(&[("file", "")]);
    for (path, wanted) in [
        (dir.path().join("missing"), "no such file or directory"),
        (dir.path().join("file"), "not a directory"),
    ] {
        let error = Engine::with_context(&path)
            .get(&context())
            .expect_err(wanted);
        assert_eq!(error.to_string(), format!("{}: {wanted}", path.display()));
    }
}

#[test]
fn a_cancelled_transfer_leaves_nothing() {
    let dir = directory(&[("file", "data")]);
    let engine = Engine::with_context(dir.path());
    let pinned = engine.resolve(&context()).expect("resolved");
    engine.cancel.cancel();
    let error = engine.snapshot(&pinned).expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    assert!(engine.config.layers.all_layers().is_empty());
    assert!(engine.sources.retained_layers().is_empty());
}

#[test]
fn the_clients_files_are_never_linked() {
    let dir = directory(&[("file", "before")]);
    let engine = Engine::with_context(dir.path());
    let stack = engine.transfer(&context());
    write(dir.path(), "file", "AFTER!");
    assert!(list(&stack)[0].ends_with("\"before\""));
}
