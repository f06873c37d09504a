//! What is fed with texts, by the example `fuzz` and by the targets in `fuzz/`: everything that reads
//! text before there is a build. All outcomes are fine, as long as there is one.

use lamina_frontend::env::Env;
use lamina_frontend::expand::Lexer;
use lamina_frontend::instructions;
use lamina_frontend::lint::LintOptions;
use lamina_frontend::lint::Linter;
use lamina_frontend::syntax;

/// Reads a text as a Dockerfile, up to typed instructions.
pub(crate) fn parse(text: &str) {
    let linter = Linter::new(LintOptions::default());
    if let Ok(file) = syntax::parse(text) {
        drop(instructions::stages(&file, &linter));
    }
    drop(syntax::syntax_directive(text));
    drop(syntax::check_directive(text));
}

/// Puts variables into a text, with quotes and without.
pub(crate) fn expand(text: &str) {
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
