//! Feeds the first two stages and the expansion of variables with damaged Dockerfiles, and ends at
//! the first that panics or takes more than ten seconds, which it prints:
//!
//! ```text
//! cargo run --release -p lamina-frontend --example fuzz -- [INPUTS [SEED]]
//! ```
//!
//! The inputs are the recorded Dockerfiles of `tests/goldens`, each with some bytes changed, cut out,
//! repeated or taken from another one. It needs no special compiler; the same seed gives the same
//! inputs. `fuzz/` feeds the same functions with what libFuzzer comes up with.

mod harness;
mod watch;

use std::fs;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::ExitCode;

use watch::Watch;

/// How many inputs are made if nobody says.
const INPUTS: u64 = 1_000_000;

/// What is put in besides bytes of other inputs: what some part of the language looks for.
const TOKENS: [&str; 32] = [
    "\n",
    "\\\n",
    "`\n",
    "\r\n",
    "$",
    "${",
    "}",
    ":-",
    ":?",
    "##",
    "%%",
    "//",
    "'",
    "\"",
    "[\"",
    "\"]",
    "<<E",
    "<<-\"E\"\n",
    "\nE\n",
    "--",
    "--mount=",
    "=",
    ",",
    "#",
    "# escape=`\n",
    "ONBUILD ",
    "FROM ",
    "RUN ",
    "\u{feff}",
    "\u{a0}",
    "é",
    "\0",
];

/// A generator of numbers (xorshift64*): enough to choose with.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap_or(0) % limit.max(1)
    }
}

fn corpus() -> std::io::Result<Vec<String>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/dockerfile");
    let mut corpus = Vec::new();
    for name in ["cases.jsonl", "further.jsonl"] {
        for line in fs::read_to_string(format!("{dir}/{name}"))?.lines() {
            let case: serde_json::Value = serde_json::from_str(line)?;
            corpus.extend(case["dockerfile"].as_str().map(str::to_owned));
        }
    }
    Ok(corpus)
}

/// Returns one of the corpus with one to eight changes.
fn damaged(corpus: &[String], numbers: &mut Numbers) -> String {
    let mut bytes = corpus[numbers.below(corpus.len())].clone().into_bytes();
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(bytes.len() + 1);
        let end = (at + numbers.below(12)).min(bytes.len());
        match numbers.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            2 => {
                let other = corpus[numbers.below(corpus.len())].as_bytes();
                let from = numbers.below(other.len() + 1);
                let to = (from + numbers.below(30)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            3 => {
                let token = TOKENS[numbers.below(TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
            _ => {
                let byte = u8::try_from(numbers.below(256)).unwrap_or(0);
                bytes.splice(at..(at + 1).min(end), [byte]);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads `[INPUTS [SEED]]`; `None` for anything else. The generator cannot start from 0.
fn arguments() -> Option<(u64, u64)> {
    let mut numbers = Vec::new();
    for text in std::env::args().skip(1) {
        numbers.push(text.parse().ok()?);
    }
    match numbers[..] {
        [] => Some((INPUTS, 1)),
        [count] => Some((count, 1)),
        [count, seed] if seed > 0 => Some((count, seed)),
        _ => None,
    }
}

/// Says whether the text is read without a panic.
fn is_read(text: &str) -> bool {
    let read = catch_unwind(|| {
        harness::parse(text);
        harness::expand(text);
    });
    read.is_ok()
}

fn main() -> std::io::Result<ExitCode> {
    let Some((count, seed)) = arguments() else {
        writeln!(
            std::io::stderr(),
            "usage: fuzz [INPUTS [SEED]]; SEED is 1 or more"
        )?;
        return Ok(ExitCode::from(2));
    };
    let corpus = corpus()?;
    let watch = Watch::start();
    let mut numbers = Numbers(seed);
    let mut bytes = 0;
    for index in 0..count {
        let text = damaged(&corpus, &mut numbers);
        bytes += text.len();
        watch.reading(&text);
        if !is_read(&text) {
            writeln!(std::io::stderr(), "input {index} of seed {seed}: {text:?}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    writeln!(
        std::io::stdout(),
        "{count} inputs of seed {seed}, {bytes} bytes, no panic"
    )?;
    Ok(ExitCode::SUCCESS)
}
