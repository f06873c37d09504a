//! The program that version 2 asks about devices.
//!
//! The kernel calls it with `{ access << 16 | kind, major, minor }` whenever a process of the group
//! opens or makes a node; 1 allows, 0 refuses. It tries the rules one after the other:
//!
//! ```text
//! for each rule:  kind differs, or something is wanted that the rule does not allow,
//!                 or a number differs  ->  next rule
//!                 return 1
//! return 0
//! ```

use super::Access;
use super::DeviceRule;
use super::NodeKind;
use crate::sys::Instruction;

/// Operations of `linux/bpf_common.h`, put together.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Registers: the result, the argument, and what is kept of it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// For a moment; the context has been read then.
const SCRATCH: u8 = 1;

/// Bits of `linux/bpf.h`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// Writes the program that allows what one of `rules` allows.
pub(super) fn instructions(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
    ];
    for rule in rules {
        program.extend(try_rule(rule));
    }
    program.extend(end_with(0));
    program
}

fn try_rule(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests = vec![
        (KIND, kind(rule.kind)),
        // What is wanted beyond the rule has to be nothing.
        (SCRATCH, 0),
    ];
    let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
    // Numbers of devices have 32 bits at most, and the kernel's are smaller.
    let number = |(register, wanted): (u8, Option<u32>)| Some((register, wanted?.cast_signed()));
    tests.extend(numbers.into_iter().filter_map(number));
    let mut code = vec![
        instruction(MOVE, SCRATCH, ACCESS, 0, 0),
        instruction(AND, SCRATCH, 0, 0, !access(rule.access) & access_all()),
    ];
    // Behind the tests that follow, and the two instructions of the end.
    let mut left = i16::try_from(tests.len()).unwrap_or(0) + 1;
    for (register, wanted) in tests {
        code.push(instruction(JUMP_UNLESS_EQUAL, register, 0, left, wanted));
        left -= 1;
    }
    code.extend(end_with(1));
    code
}

fn end_with(result: i32) -> [Instruction; 2] {
    [
        instruction(SET, RESULT, 0, 0, result),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

fn kind(kind: NodeKind) -> i32 {
    match kind {
        NodeKind::Character => CHARACTER,
        NodeKind::Block => BLOCK,
    }
}

fn access(access: Access) -> i32 {
    [
        (access.make, MAKE),
        (access.read, READ),
        (access.write, WRITE),
    ]
    .into_iter()
    .filter_map(|(may, bit)| may.then_some(bit))
    .sum()
}

const fn access_all() -> i32 {
    MAKE | READ | WRITE
}

const fn instruction(
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    let registers = if cfg!(target_endian = "little") {
        (source << 4) | destination
    } else {
        (destination << 4) | source
    };
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::super::USUAL;
    use super::*;

    /// Runs the program as the kernel would.
    fn decide(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> i64 {
        let context = [(access << 16) | kind, major, minor];
        let mut registers = [0_i64; 6];
        let mut at = 0;
        loop {
            let now = program[at];
            let (source, destination) = if cfg!(target_endian = "little") {
                (now.registers >> 4, now.registers & 15)
            } else {
                (now.registers & 15, now.registers >> 4)
            };
            let (source, destination) = (usize::from(source), usize::from(destination));
            at += 1;
            let immediate = i64::from(now.immediate);
            match now.code {
                LOAD_WORD => {
                    let word = usize::try_from(now.offset).expect("not negative") / 4;
                    registers[destination] = i64::from(context[word]);
                }
                MOVE => registers[destination] = registers[source],
                SET => registers[destination] = immediate,
                AND => registers[destination] &= immediate,
                SHIFT_RIGHT => registers[destination] >>= immediate,
                JUMP_UNLESS_EQUAL if registers[destination] != immediate => {
                    at += usize::try_from(now.offset).expect("forward");
                }
                JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[usize::from(RESULT)],
                other => panic!("no such operation {other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_a_rule_allows_passes() {
        let program = instructions(&USUAL);
        for (name, kind, access, number, allowed) in [
            ("read and write null", CHARACTER, READ | WRITE, (1, 3), 1),
            ("make any character device", CHARACTER, MAKE, (4, 64), 1),
            ("make a disk", BLOCK, MAKE, (8, 0), 1),
            ("read a disk", BLOCK, READ, (8, 0), 0),
            ("make and read a disk", BLOCK, MAKE | READ, (8, 0), 0),
            ("a disk with the number of null", BLOCK, READ, (1, 3), 0),
            ("memory", CHARACTER, READ, (1, 1), 0),
            ("any terminal", CHARACTER, READ | WRITE, (136, 77), 1),
            ("another major", CHARACTER, READ, (137, 0), 0),
            ("look at it only", CHARACTER, 0, (1, 1), 1),
        ] {
            let decided = decide(&program, kind, access, number.0, number.1);
            assert_eq!(decided, allowed, "{name}");
        }
        assert_eq!(decide(&instructions(&[]), CHARACTER, READ, 1, 3), 0);
    }
}
