//! What `binfmt_misc` hands to which emulator (row EXC-38).
//!
//! With the flag `F` the kernel holds the emulator open, and it works in every root. Without it, the
//! kernel looks for the emulator by its path when a program is started, which is inside the step's
//! root; a step is then given the emulator of the host at that path. That helps only if the emulator
//! needs no libraries.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::Platform;

/// Bytes of a program in which its header and table of segments are looked for.
const HEAD_BYTES: u64 = 4096;

/// Kind of the segment that names the loader of a program with libraries.
const LOADER_SEGMENT: u32 = 3;

/// One handler.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    architecture: &'static str,
    emulator: PathBuf,
    held_open: bool,
}

/// Returns what the handlers below `folder` run inside of any root, sorted.
pub(super) fn emulated(folder: &Path) -> Vec<Platform> {
    let usable = handlers(folder).filter(|one| one.held_open || is_static(&one.emulator));
    let mut platforms: Vec<Platform> = usable
        .map(|one| Platform::new("linux", one.architecture, ""))
        .collect();
    platforms.sort();
    platforms.dedup();
    platforms
}

/// Returns the emulator of an architecture that has to be in the root for it.
pub(super) fn to_be_given(folder: &Path, architecture: &str) -> Option<PathBuf> {
    let found: Vec<Handler> = handlers(folder)
        .filter(|one| one.architecture == architecture)
        .collect();
    if found.iter().any(|one| one.held_open) {
        return None;
    }
    let mut emulators = found.into_iter().map(|one| one.emulator);
    emulators.find(|emulator| is_static(emulator))
}

fn handlers(folder: &Path) -> impl Iterator<Item = Handler> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| parse(&fs::read_to_string(entry.path()).ok()?))
}

/// Reads the description of a handler; the machine is in the header of the programs that it takes.
fn parse(text: &str) -> Option<Handler> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    if text.lines().next() != Some("enabled") {
        return None;
    }
    let magic = hex(value("magic ")?.trim())?;
    let machine: [u8; 2] = magic.get(18..20)?.try_into().ok()?;
    let (wide, little) = (magic.get(4)? == &2, magic.get(5)? == &1);
    if !magic.starts_with(b"\x7fELF") {
        return None;
    }
    let machine = if little {
        u16::from_le_bytes(machine)
    } else {
        u16::from_be_bytes(machine)
    };
    Some(Handler {
        architecture: architecture(machine, wide, little)?,
        emulator: PathBuf::from(value("interpreter ")?),
        held_open: value("flags:")?.contains('F'),
    })
}

/// Names a machine; numbers as in the specification of the file format.
fn architecture(machine: u16, wide: bool, little: bool) -> Option<&'static str> {
    Some(match (machine, wide, little) {
        (3, false, true) => "386",
        (8, false, false) => "mips",
        (8, false, true) => "mipsle",
        (8, true, false) => "mips64",
        (8, true, true) => "mips64le",
        (21, true, false) => "ppc64",
        (21, true, true) => "ppc64le",
        (22, true, false) => "s390x",
        (40, false, true) => "arm",
        (62, true, true) => "amd64",
        (183, true, true) => "arm64",
        (243, true, true) => "riscv64",
        (258, true, true) => "loong64",
        _ => return None,
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Says whether a program of this machine needs neither loader nor libraries.
fn is_static(program: &Path) -> bool {
    let head = |path| -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    };
    let head = head(program).unwrap_or_default();
    segments(&head).is_some_and(|kinds| !kinds.contains(&LOADER_SEGMENT))
}

/// Lists the kinds of a program's segments; of 64-bit programs in this machine's order of bytes only.
fn segments(head: &[u8]) -> Option<Vec<u32>> {
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if head.get(..6)? != [0x7f, b'E', b'L', b'F', 2, order] {
        return None;
    }
    let number = |at: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(usize::from(u16::from_ne_bytes(bytes)))
    };
    let table = usize::try_from(u64::from_ne_bytes(head.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (number(54)?, number(56)?);
    let kind = |index: usize| {
        let at = table.checked_add(size.checked_mul(index)?)?;
        let bytes = head.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    (0..count).map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "7f454c460201010000000000000000000200b700";
    const S390X: &str = "7f454c4602020100000000000000000000020016";

    fn handler(state: &str, emulator: &str, flags: &str, magic: &str) -> String {
        format!("{state}\ninterpreter {emulator}\nflags: {flags}\noffset 0\nmagic {magic}\n")
    }

    #[test]
    fn handlers_are_told_by_the_header_that_they_take() {
        let enabled = |flags, magic| handler("enabled", "/e", flags, magic);
        for (name, text, wanted) in [
            ("arm64", enabled("POCF", ARM64), Some(("arm64", true))),
            ("s390x", enabled("F", S390X), Some(("s390x", true))),
            (
                "not held open",
                enabled("PO", ARM64),
                Some(("arm64", false)),
            ),
            ("disabled", handler("disabled", "/e", "F", ARM64), None),
            ("no program", enabled("F", "4d5a"), None),
            ("odd digits", enabled("F", "7f4"), None),
            (
                "by extension",
                "enabled\nflags: F\nextension .exe\n".to_owned(),
                None,
            ),
            ("nothing", String::new(), None),
        ] {
            let found = parse(&text).map(|one| (one.architecture, one.held_open));
            assert_eq!(found, wanted, "{name}");
        }
    }

    /// The header of a program of this machine with these kinds of segments.
    fn program(kinds: &[u32]) -> Vec<u8> {
        let order = if cfg!(target_endian = "little") { 1 } else { 2 };
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, order]);
        head[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        head[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        let count = u16::try_from(kinds.len()).expect("few");
        head[56..58].copy_from_slice(&count.to_ne_bytes());
        for kind in kinds {
            head.extend(kind.to_ne_bytes());
            head.extend([0; 52]);
        }
        head
    }

    #[test]
    fn emulators_without_libraries_are_given_to_steps() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, data: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, data).expect("written");
            path.display().to_string()
        };
        let fixed = file("static", &program(&[1, 1]));
        let linked = file("linked", &program(&[1, 3]));
        let no_program = file("text", b"#!/bin/sh\n");
        for (name, handlers, platforms, given) in [
            ("held open", vec![(linked.clone(), "F")], 1, None),
            ("static", vec![(fixed.clone(), "P")], 1, Some(&fixed)),
            ("with libraries", vec![(linked.clone(), "")], 0, None),
            ("no program", vec![(no_program, "")], 0, None),
            ("gone", vec![("/no/such".to_owned(), "")], 0, None),
            (
                "both",
                vec![(fixed.clone(), ""), (linked.clone(), "F")],
                1,
                None,
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            for (at, (emulator, flags)) in handlers.into_iter().enumerate() {
                let text = handler("enabled", &emulator, flags, ARM64);
                fs::write(folder.path().join(at.to_string()), text).expect("written");
            }
            assert_eq!(emulated(folder.path()).len(), platforms, "{name}");
            let found = to_be_given(folder.path(), "arm64");
            assert_eq!(found, given.map(PathBuf::from), "{name}");
            assert_eq!(to_be_given(folder.path(), "s390x"), None, "{name}");
        }
        assert!(emulated(Path::new("/nothing/here")).is_empty());
    }
}
