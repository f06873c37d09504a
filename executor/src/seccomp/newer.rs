//! System calls that libseccomp may not know yet.

use libseccomp::ScmpSyscall;

use crate::sys::SockFilter;

/// Load the word at an absolute place in `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// Jump if equal.
const JUMP_EQUAL: u16 = 0x15;
/// Jump if greater or equal.
const JUMP_AT_LEAST: u16 = 0x35;
/// End with the operand as the verdict.
const RETURN: u16 = 0x06;

/// Where the number of the call is in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with ENOSYS.
const NOT_THERE: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Allowed calls of Linux 6.2 and later, with their number on every architecture.
const NEW_CALLS: [(&str, u32); 14] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("futex_waitv", 449),
];

/// The newest call that the list of allowed calls was made for (`open_tree_attr`).
const NEWEST: u32 = 467;

/// Numbers from here up are calls of the x32 architecture, which has numbers of its own.
const X32: u32 = 0x4000_0000;

/// Puts the instructions for newer calls before `program`.
pub(super) fn prepend<'a>(
    program: Vec<SockFilter>,
    allowed: impl Iterator<Item = &'a str>,
) -> Vec<SockFilter> {
    let allowed: Vec<&str> = allowed.collect();
    let mut head = vec![instruction(LOAD, NUMBER, 0, 0)];
    for (name, number) in NEW_CALLS {
        if allowed.contains(&name) && ScmpSyscall::from_name(name).is_err() {
            head.push(instruction(JUMP_EQUAL, number, 0, 1));
            head.push(instruction(RETURN, ALLOW, 0, 0));
        }
    }
    head.push(instruction(JUMP_AT_LEAST, X32, 2, 0));
    head.push(instruction(JUMP_AT_LEAST, NEWEST + 1, 0, 1));
    head.push(instruction(RETURN, NOT_THERE, 0, 0));
    head.extend(program);
    head
}

fn instruction(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> SockFilter {
    SockFilter {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the head alone says of a call: a verdict, or `None` when it goes on.
    fn verdict(number: u32) -> Option<u32> {
        let names = NEW_CALLS.iter().map(|(name, _)| *name);
        let end = instruction(RETURN, 0, 0, 0);
        let program = prepend(vec![end], names);
        let mut at = 1;
        loop {
            let step = program[at];
            let taken = match step.code {
                JUMP_EQUAL => number == step.operand,
                JUMP_AT_LEAST => number >= step.operand,
                _ => return (at + 1 < program.len()).then_some(step.operand),
            };
            let skipped = if taken {
                step.jump_true
            } else {
                step.jump_false
            };
            at += 1 + usize::from(skipped);
        }
    }

    #[test]
    fn unknown_calls_do_not_exist() {
        for (name, number, expected) in [
            ("read", 0, None),
            ("newest", NEWEST, None),
            ("beyond", NEWEST + 1, Some(NOT_THERE)),
            ("far beyond", X32 - 1, Some(NOT_THERE)),
            ("x32", X32, None),
            ("no call", u32::MAX, None),
        ] {
            assert_eq!(verdict(number), expected, "{name}");
        }
    }

    #[test]
    fn new_calls_are_allowed_unless_the_library_knows_them() {
        for (name, number) in NEW_CALLS {
            let expected = ScmpSyscall::from_name(name).is_err().then_some(ALLOW);
            assert_eq!(verdict(number), expected, "{name}");
        }
    }
}
