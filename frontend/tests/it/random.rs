//! Random texts: no input makes the frontend panic, and what it accepts another lexer cuts alike.

use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_frontend::env::Env;
use lamina_frontend::expand::Lexer;
use lamina_frontend::syntax;
use lamina_llb::Frontend;
use proptest::prelude::*;

use crate::bridge::RecordingBridge;

/// Pieces of which interesting Dockerfiles are made.
const PIECES: [&str; 44] = [
    "FROM scratch\n",
    "FROM scratch AS a\n",
    "FROM a\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "EXPOSE ",
    "HEALTHCHECK CMD ",
    "WORKDIR ",
    "SHELL ",
    "VOLUME ",
    "--from=a ",
    "--mount=type=",
    "cache,target=/x ",
    "secret,id=s ",
    "--chown=1:2 ",
    "--chmod=",
    "<<EOF ",
    "EOF\n",
    "<<-\"X\" ",
    "\n",
    "\\\n",
    "# escape=`\n",
    "# syntax=",
    "`\n",
    "$",
    "${",
    "}",
    ":-",
    "%%",
    "/",
    "'",
    "\"",
    "[\"",
    "\"]",
    "=",
    "é",
    "\u{a0}",
    "\t",
    "x ",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn build(text: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    let bridge = Arc::new(RecordingBridge::of(text, &[]));
    // Success and failure are both fine: what counts is that it ends.
    drop(runtime.block_on(DockerfileFrontend.build(bridge)));
}

proptest! {
    #[test]
    fn random_dockerfiles_never_panic(text in text()) {
        build(&format!("FROM scratch\n{text}"));
        build(&text);
    }

    #[test]
    fn random_words_never_panic(text in text(), value in ".{0,8}") {
        let env: Env = [("x", value.as_str()), ("a", "b c")].into_iter().collect();
        let plain = Lexer::new('\\');
        for lexer in [plain, plain.raw_quotes(), plain.raw_escapes().keep_unset(), plain.ignore_quotes()] {
            drop(lexer.expand(&text, &env));
        }
    }

    /// A text without quotes, escapes and variables expands to itself.
    #[test]
    fn plain_texts_expand_to_themselves(text in "[a-z0-9 ./:=_-]{0,40}") {
        let expansion = Lexer::new('\\').expand(&text, &Env::default());
        prop_assert_eq!(expansion.text, Ok(text.clone()));
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        prop_assert_eq!(expansion.words, words);
    }
}

/// Recorded files that the other parser cuts differently from BuildKit.
const KNOWN_DIFFERENCES: [&str; 1] = ["parser/continuation-double-backslash"];

/// The `parse-dockerfile` crate reads the recorded files independently: wherever it accepts one,
/// both must see the same instructions.
#[test]
fn another_parser_sees_the_same_instructions() {
    let mut compared = 0;
    let mut differing = Vec::new();
    for case in crate::goldens::recorded() {
        let Some(text) = case.dockerfile else {
            continue;
        };
        let (Ok(theirs), Ok(ours)) = (parse_dockerfile::parse(&text), syntax::parse(&text)) else {
            continue;
        };
        compared += 1;
        if ours.nodes.len() != theirs.instructions.len() {
            differing.push(case.name);
        }
    }
    assert_eq!(differing, KNOWN_DIFFERENCES);
    assert!(compared > 500, "only {compared} files were compared");
}
