//! Actions as text:
//!
//! ```text
//! copy source destination [letters] [chown=..] [mode=..] [time=..] [inc=..] [exc=..]
//! mkfile path mode [data] [chown=..] [time=..]
//! mkdir path mode [letters] [chown=..] [time=..]
//! rm path [letters]
//! symlink target path [chown=..] [time=..]
//! ```
//!
//! Letters are flags: `f` the source is followed, `c` contents of a directory, `p` parents are made,
//! `w` the path is a pattern, `e` that may match nothing, `r` what is in the way is replaced, `n` the
//! path may be missing. Times are in seconds. Owners are `user`, `user:group` or `:group`, by number or
//! by the name that the destination's files have. A mode is a number or a text; a text that is a number is
//! in quotes.

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::MkDirAction;
use lamina_fileops::MkFileAction;
use lamina_fileops::Owner;
use lamina_fileops::RmAction;
use lamina_fileops::SymlinkAction;
use lamina_fileops::UserRef;
use lamina_snapshotter::Tree;

/// Reads an action; names of owners are looked up in `users`.
pub(crate) fn parse(text: &str, users: &Tree) -> Action {
    let words: Vec<&str> = text.split(' ').collect();
    let (kind, words) = words.split_first().expect("an action");
    let (named, plain): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
    let words = Words { named, plain };
    let (owner, timestamp) = (words.owner(users), words.time());
    match *kind {
        "copy" => Action::Copy(words.copy(owner)),
        "mkfile" => Action::MkFile(MkFileAction {
            path: words.plain(0).into(),
            mode: octal(words.plain(1)),
            data: words.plain(2).into(),
            owner,
            timestamp,
        }),
        "mkdir" => Action::MkDir(MkDirAction {
            path: words.plain(0).into(),
            mode: octal(words.plain(1)),
            make_parents: words.plain(2).contains('p'),
            owner,
            timestamp,
        }),
        "rm" => Action::Rm(RmAction {
            path: words.plain(0).into(),
            allow_not_found: words.plain(1).contains('n'),
            allow_wildcard: words.plain(1).contains('w'),
        }),
        "symlink" => Action::Symlink(SymlinkAction {
            target: words.plain(0).into(),
            path: words.plain(1).into(),
            owner,
            timestamp,
        }),
        other => panic!("no action: {other}"),
    }
}

struct Words<'a> {
    /// Those of the form `name=value`.
    named: Vec<&'a str>,
    plain: Vec<&'a str>,
}

impl<'a> Words<'a> {
    /// The word at `index`, or an empty one.
    fn plain(&self, index: usize) -> &'a str {
        self.plain.get(index).copied().unwrap_or_default()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let values = move |word: &&'a str| word.strip_prefix(name)?.strip_prefix('=');
        self.named.iter().filter_map(values)
    }

    fn time(&self) -> Option<i64> {
        let seconds = self.values("time").next()?;
        Some(seconds.parse::<i64>().expect(seconds) * 1_000_000_000)
    }

    fn owner(&self, users: &Tree) -> Option<Owner> {
        let text = self.values("chown").next()?;
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let reference = |name: &str| match name.parse() {
            Ok(id) => UserRef::Id(id),
            Err(_) => UserRef::Name {
                name: name.to_owned(),
                tree: users.clone(),
            },
        };
        Some(Owner {
            user: (!user.is_empty()).then(|| reference(user)),
            group: (!group.is_empty()).then(|| reference(group)),
        })
    }

    fn mode(&self) -> CopyMode {
        match self.values("mode").next() {
            None => CopyMode::Keep,
            Some(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
                CopyMode::Bits(octal(text))
            }
            Some(text) => CopyMode::Symbolic(text.trim_matches('\'').to_owned()),
        }
    }

    fn copy(&self, owner: Option<Owner>) -> CopyAction {
        let flags = self.plain(2);
        CopyAction {
            source: self.plain(0).into(),
            destination: self.plain(1).into(),
            owner,
            mode: self.mode(),
            timestamp: self.time(),
            follow_symlink: flags.contains('f'),
            directory_contents: flags.contains('c'),
            unpack_archives: false,
            create_parents: flags.contains('p'),
            allow_wildcard: flags.contains('w'),
            allow_empty_wildcard: flags.contains('e'),
            replace_existing: flags.contains('r'),
            include: self.values("inc").map(str::to_owned).collect(),
            exclude: self.values("exc").map(str::to_owned).collect(),
        }
    }
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).expect(text)
}
