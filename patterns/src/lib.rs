//! Go's `filepath.Match` and the pattern language of ignore files (rows FIL-14, FIL-16, SRC-11, FDF-47).
//!
//! Clients write patterns for programs in Go, so two languages matter, and neither is that of a
//! shell or of `.gitignore`:
//!
//! | | [`Wildcard`] (Go's `filepath.Match`) | [`PatternList`] (ignore files) |
//! |---|---|---|
//! | matches | the whole text | the path or one of its parents |
//! | `*` | anything but `/` | anything but `/` |
//! | `**` | the same as `*` | also crosses `/`; `a/**/b` matches `a/b` |
//! | `?` | a character but `/` | a character but `/` |
//! | `[a-z]`, `[^a-z]` | a character, even `/` | the same |
//! | `[!a]`, `{a,b}` | no special meaning of `!`, `{`, `}` | the same |
//! | `\*` | the character `*` | the same; before letters what Go's regular expressions mean |
//! | `!x` | no special meaning | takes back what was matched before |
//! | `./a`, `a/` | as written | cleaned to `a` |
//!
//! ```
//! use lamina_patterns::PatternList;
//! use lamina_patterns::Wildcard;
//!
//! assert!(Wildcard::new(b"*.txt")?.matches(b"notes.txt"));
//! assert!(!Wildcard::new(b"*.txt")?.matches(b"a/notes.txt"));
//!
//! let ignored = PatternList::new(&["target", "!target/keep", "**/*.o"])?;
//! assert!(ignored.matches_path(b"target/debug/x"));
//! assert!(!ignored.matches_path(b"target/keep"));
//! assert!(ignored.matches_path(b"src/deep/a.o"));
//! # Ok::<(), lamina_patterns::PatternError>(())
//! ```
//!
//! Texts are bytes. Where a rule speaks of characters, a byte that is no UTF-8 counts as one
//! character, U+FFFD, as it does in Go.

mod chars;
mod clean;
mod error;
mod ignore_file;
mod list;
mod program;
mod translate;
mod wildcard;

pub use clean::clean;
pub use error::PatternError;
pub use ignore_file::parse_ignore_file;
pub use list::ParentMatch;
pub use list::PatternList;
pub use wildcard::Wildcard;
pub use wildcard::is_wildcard;
