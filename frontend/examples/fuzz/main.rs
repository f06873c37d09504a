//! Feeds the first two stages and the expansion of variables with damaged Dockerfiles, and ends at
//! the first panic, which prints the input:
//!
//! ```text
//! cargo run --release -p lamina-frontend --example fuzz -- [INPUTS [SEED]]
//! ```
//!
//! The inputs are the recorded Dockerfiles of `tests/goldens`, each with some bytes changed, cut out,
//! repeated or taken from another one. It needs no special compiler; the same seed gives the same
//! inputs.

use std::fs;
use std::io::Write as _;
use std::panic::catch_unwind;

use lamina_frontend::env::Env;
use lamina_frontend::expand::Lexer;
use lamina_frontend::instructions;
use lamina_frontend::lint::LintOptions;
use lamina_frontend::lint::Linter;
use lamina_frontend::syntax;

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

/// Runs everything that reads text on it; all outcomes are fine, as long as there is one.
fn read(text: &str) {
    let linter = Linter::new(LintOptions::default());
    if let Ok(file) = syntax::parse(text) {
        drop(instructions::stages(&file, &linter));
    }
    drop(syntax::syntax_directive(text));
    drop(syntax::check_directive(text));
    let env: Env = [("A", "a/b.c"), ("E", ""), ("V", "é x")]
        .into_iter()
        .collect();
    let plain = Lexer::new('\\');
    for lexer in [
        plain,
        plain.raw_quotes().keep_unset(),
        Lexer::new('`').ignore_quotes(),
    ] {
        drop(lexer.expand(text, &env));
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap_or(1));
    let (count, seed) = (
        arguments.next().unwrap_or(1_000_000),
        arguments.next().unwrap_or(1),
    );
    let corpus = corpus()?;
    let mut numbers = Numbers(seed.max(1));
    let mut bytes = 0;
    for index in 0..count {
        let text = damaged(&corpus, &mut numbers);
        bytes += text.len();
        if catch_unwind(|| read(&text)).is_err() {
            writeln!(std::io::stderr(), "input {index} of seed {seed}: {text:?}")?;
            std::process::exit(1);
        }
    }
    writeln!(
        std::io::stdout(),
        "{count} inputs of seed {seed}, {bytes} bytes, no panic"
    )
}
