//! Symbolic modes as chmod(1) takes them (row FIL-09).
//!
//! ```text
//! mode    = octal | clause {"," clause}
//! clause  = {"u" | "g" | "o" | "a"} change {change}
//! change  = ("+" | "-" | "=") {"r" | "w" | "x" | "X" | "s" | "t" | "u" | "g" | "o"}
//! ```
//!
//! Without a class a change is for all of them; no umask is applied. `X` is `x` for directories and
//! for files that somebody may already execute. The rules are those of BSD's `setmode`: where `u`,
//! `g` or `o` stand on the right, the bits of that class are copied as they are by then.

use crate::FileOpError;
use crate::action::CopyMode;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;
/// All that `a` stands for; the sticky bit is changed by `t` only.
const ALL: u32 = SET_UID | SET_GID | 0o777;

/// What a copy does to permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// Nothing.
    Keep,
    /// These bits, also for directories that the copy makes on its own.
    Bits(u32),
    /// Steps, one after the other.
    Steps(Vec<Step>),
}

/// One step of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Set(u32),
    Clear(u32),
    /// Sets these if it is a directory or was executable at first.
    SetIfExecutable(u32),
    /// Takes the three bits at `from` (a shift) and changes those of the classes in `to` by them.
    Copy {
        from: u32,
        to: u32,
        operator: u8,
    },
}

impl ModeChange {
    /// Parses what the client gave.
    pub(crate) fn new(mode: &CopyMode) -> Result<Self, FileOpError> {
        match mode {
            CopyMode::Keep => Ok(Self::Keep),
            CopyMode::Bits(bits) => Ok(Self::Bits(bits & 0o7777)),
            CopyMode::Symbolic(text) => {
                parse(text.as_bytes()).ok_or_else(|| FileOpError::BadMode { mode: text.clone() })
            }
        }
    }

    /// Returns the permission bits of directories that a copy makes on its own.
    pub(crate) fn of_new_directory(&self) -> u32 {
        match self {
            Self::Bits(bits) => bits & 0o777,
            Self::Keep | Self::Steps(_) => 0o755,
        }
    }

    /// Returns the new bits of a file or directory that has `mode`.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Keep => mode,
            Self::Bits(bits) => *bits,
            Self::Steps(steps) => steps.iter().fold(mode, |now, step| {
                step.apply(now, directory || mode & EXECUTE != 0)
            }),
        }
    }
}

impl Step {
    fn apply(&self, now: u32, executable: bool) -> u32 {
        match *self {
            Self::Set(bits) => now | bits,
            Self::Clear(bits) => now & !bits,
            Self::SetIfExecutable(bits) if executable => now | bits,
            Self::SetIfExecutable(_) => now,
            Self::Copy { from, to, operator } => {
                let copied = (((now >> from) & 7) * 0o111) & to;
                match operator {
                    b'+' => now | copied,
                    b'-' => now & !copied,
                    _ => (now & !to) | copied,
                }
            }
        }
    }
}

fn parse(text: &[u8]) -> Option<ModeChange> {
    if text.first()?.is_ascii_digit() {
        let bits = u32::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()?;
        let steps = || vec![Step::Clear(0o7777), Step::Set(bits)];
        return (bits <= 0o7777).then(|| ModeChange::Steps(steps()));
    }
    let mut parser = Parser::default();
    for clause in text.split(|&byte| byte == b',') {
        parser.clause(clause)?;
    }
    Some(ModeChange::Steps(parser.steps))
}

#[derive(Default)]
struct Parser {
    steps: Vec<Step>,
    /// A `=` has cleared its classes already.
    assigned: bool,
}

impl Parser {
    fn clause(&mut self, text: &[u8]) -> Option<()> {
        let classes = text
            .iter()
            .take_while(|byte| b"ugoa".contains(byte))
            .count();
        let (classes, mut changes) = text.split_at(classes);
        let mut who = classes
            .iter()
            .fold(0, |who, class| who | class_bits(*class));
        changes.first()?;
        while let Some((&operator, rest)) = changes.split_first() {
            if !b"+-=".contains(&operator) {
                return None;
            }
            self.assigned &= operator != b'=';
            let length = rest
                .iter()
                .take_while(|byte| b"rwxXstugo".contains(byte))
                .count();
            let (letters, left) = rest.split_at(length);
            who &= !STICKY;
            self.change(operator, &mut who, letters);
            changes = left;
        }
        Some(())
    }

    /// One operator and the letters behind it.
    fn change(&mut self, operator: u8, who: &mut u32, letters: &[u8]) {
        let (mut bits, mut if_executable) = (0, 0);
        for letter in letters {
            match letter {
                b'r' => bits |= 0o444,
                b'w' => bits |= 0o222,
                b'x' => bits |= EXECUTE,
                b'X' if operator == b'-' => bits |= EXECUTE,
                b'X' => if_executable = EXECUTE,
                b's' if may_be_special(*who) => bits |= SET_UID | SET_GID,
                b't' if may_be_special(*who) => {
                    *who |= STICKY;
                    bits |= STICKY;
                }
                b's' | b't' => {}
                class => {
                    self.plain(operator, *who, std::mem::take(&mut bits));
                    self.if_executable(*who, std::mem::take(&mut if_executable));
                    self.assigned |= operator == b'=';
                    self.copy(operator, *who, *class);
                }
            }
        }
        if operator == b'=' && !self.assigned && bits == 0 {
            self.steps.push(Step::Clear(or_all(*who, ALL)));
            self.assigned = true;
        }
        self.plain(operator, *who, bits);
        self.if_executable(*who, if_executable);
    }

    fn plain(&mut self, operator: u8, who: u32, bits: u32) {
        if bits == 0 {
            return;
        }
        let chosen = bits & or_all(who, ALL | STICKY);
        match operator {
            b'+' => self.steps.push(Step::Set(chosen)),
            b'-' => self.steps.push(Step::Clear(chosen)),
            _ => {
                self.steps.push(Step::Clear(or_all(who, ALL)));
                self.steps.push(Step::Set(chosen));
                self.assigned = true;
            }
        }
    }

    fn if_executable(&mut self, who: u32, bits: u32) {
        if bits != 0 {
            self.steps
                .push(Step::SetIfExecutable(bits & or_all(who, ALL)));
        }
    }

    fn copy(&mut self, operator: u8, who: u32, class: u8) {
        let from = match class {
            b'u' => 6,
            b'g' => 3,
            _ => 0,
        };
        let to = or_all(who, ALL) & 0o777;
        self.steps.push(Step::Copy { from, to, operator });
    }
}

fn class_bits(class: u8) -> u32 {
    match class {
        b'u' => SET_UID | 0o700,
        b'g' => SET_GID | 0o070,
        b'o' => 0o007,
        _ => ALL,
    }
}

/// Set-id and sticky bits mean nothing for others alone.
fn may_be_special(who: u32) -> bool {
    who == 0 || who & !0o007 != 0
}

fn or_all(who: u32, all: u32) -> u32 {
    if who == 0 { all } else { who }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Option<ModeChange> {
        ModeChange::new(&CopyMode::Symbolic(text.to_owned())).ok()
    }

    #[test]
    fn symbolic_modes() {
        for (text, directory, mode, wanted) in [
            ("644", false, 0o755, 0o644),
            ("4755", false, 0, 0o4755),
            ("u=rwX,go=rX", false, 0o600, 0o644),
            ("u=rwX,go=rX", false, 0o700, 0o755),
            ("u=rwX,go=rX", true, 0o700, 0o755),
            ("go-w", false, 0o666, 0o644),
            ("+x", false, 0o644, 0o755),
            ("a+x,o-x", false, 0o644, 0o754),
            ("u=rwx,go=u-w", false, 0, 0o755),
            ("go=", false, 0o777, 0o700),
            ("=", false, 0o6777, 0),
            ("=", false, 0o1777, 0o1000),
            ("=rw,+X", false, 0o100, 0o777),
            ("=rw,+X", false, 0o600, 0o666),
            ("g=u", false, 0o741, 0o771),
            ("g+o", false, 0o704, 0o744),
            ("o-g", false, 0o077, 0o070),
            ("u+s", false, 0o755, 0o4755),
            ("g+s", false, 0o755, 0o2755),
            ("o+s", false, 0o755, 0o755),
            ("+t", true, 0o755, 0o1755),
            ("u+t", true, 0o755, 0o1755),
            ("o+t", true, 0o755, 0o755),
            ("-t", true, 0o1755, 0o755),
            ("u-X", false, 0o755, 0o655),
            ("u+r-w", false, 0o200, 0o400),
            ("ug+rw,o=r", false, 0, 0o664),
        ] {
            let parsed = change(text).expect(text);
            assert_eq!(parsed.apply(mode, directory), wanted, "{text} on {mode:o}");
        }
    }

    #[test]
    fn new_directories_get_the_bits_of_numbers_only() {
        let number = ModeChange::new(&CopyMode::Bits(0o4700)).expect("valid");
        assert_eq!(number.of_new_directory(), 0o700);
        for text in ["700", "u=rwx,go=", "0644"] {
            assert_eq!(
                change(text).expect(text).of_new_directory(),
                0o755,
                "{text}"
            );
        }
    }

    #[test]
    fn malformed_modes() {
        for text in [
            "", "u", "u=rwz", "bad", "u+r,", ",u+r", "9", "12345670", "u r", "=r=z", "0o644",
        ] {
            assert_eq!(change(text), None, "{text}");
        }
        let error = ModeChange::new(&CopyMode::Symbolic("bad".to_owned())).expect_err("malformed");
        assert_eq!(error.to_string(), "mode \"bad\": invalid syntax");
    }
}
