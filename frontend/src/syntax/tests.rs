//! Tables of texts and their nodes (rows DFL-01, DFL-02).

use super::*;

/// Keyword, flags, words, first and last line.
type Shape = (String, Vec<String>, Vec<String>, u32, u32);

fn shapes(text: &str) -> Vec<Shape> {
    let file = parse(text).expect("parses");
    let shape = |node: Node| {
        let list = match &node.arguments {
            Arguments::Pairs(pairs) => pairs
                .iter()
                .map(|pair| format!("{}={}", pair.key, pair.value))
                .collect(),
            other => other.list().to_vec(),
        };
        (
            node.keyword,
            node.flags,
            list,
            node.lines.first,
            node.lines.last,
        )
    };
    file.nodes.into_iter().map(shape).collect()
}

macro_rules! single_node {
    ($($name:ident: $text:expr => $keyword:expr, [$($flag:expr),*], [$($word:expr),*], $first:expr, $last:expr;)*) => { $(
        #[test]
        fn $name() {
            let flags: Vec<String> = vec![$($flag.to_string()),*];
            let words: Vec<String> = vec![$($word.to_string()),*];
            assert_eq!(shapes($text), [($keyword.to_owned(), flags, words, $first, $last)]);
        }
    )* };
}

single_node! {
    words: "COPY a b c" => "COPY", [], ["a", "b", "c"], 1, 1;
    flags: "COPY --from=x --link a b" => "COPY", ["--from=x", "--link"], ["a", "b"], 1, 1;
    quoted_flag: "RUN --mount='a b' x" => "RUN", ["--mount=a b"], ["x"], 1, 1;
    end_of_flags: "RUN --a -- --b" => "RUN", ["--a"], ["--b"], 1, 1;
    json: "CMD [\"a\", \"b\"]" => "CMD", [], ["a", "b"], 1, 1;
    broken_json_is_text: "CMD [\"a\", b]" => "CMD", [], ["[\"a\", b]"], 1, 1;
    pairs_of_words: "ENV A=1 B=\"x y\"" => "ENV", [], ["A=1", "B=\"x y\""], 1, 1;
    legacy_pair: "ENV A  x y" => "ENV", [], ["A=x y"], 1, 1;
    continuation: "RUN a \\\n  b\n" => "RUN", [], ["a   b"], 1, 2;
    comment_inside: "RUN a \\\n# no\n b\n" => "RUN", [], ["a  b"], 1, 3;
    escaped_escape_ends: "RUN a\\\\" => "RUN", [], ["a\\\\"], 1, 1;
    backtick: "# escape=`\nRUN a `\nb" => "RUN", [], ["a b"], 2, 3;
    carriage_returns: "RUN a \\\r\n b\r\n" => "RUN", [], ["a  b"], 1, 2;
    byte_order_mark: "\u{feff}RUN a" => "RUN", [], ["a"], 1, 1;
    blank_lines_before: "\n\n  RUN a" => "RUN", [], ["a"], 3, 3;
    healthcheck: "HEALTHCHECK --retries=3 CMD curl x" => "HEALTHCHECK", ["--retries=3"], ["CMD", "curl x"], 1, 1;
    heredoc_lines: "RUN <<EOF\na\nEOF\n" => "RUN", [], ["<<EOF"], 1, 3;
}

#[test]
fn heredocs() {
    let file = parse("COPY <<A <<-\"B\" /x/\n1\nA\n\t2\n\tB\n").expect("parses");
    let docs = &file.nodes[0].heredocs;
    assert_eq!(
        (
            docs[0].name.as_str(),
            docs[0].expand,
            docs[0].content.as_str()
        ),
        ("A", true, "1\n")
    );
    assert_eq!(
        (docs[1].name.as_str(), docs[1].expand, docs[1].strip_tabs),
        ("B", false, true)
    );
    assert_eq!(docs[1].content, "\t2\n");
}

#[test]
fn errors_have_lines() {
    for (text, message, first, last) in [
        ("# x\n\n", "file with no instructions", 2, 2),
        (
            "# escape=x\nFROM a",
            "invalid escape token 'x' does not match ` or \\",
            0,
            0,
        ),
        (
            "# escape=`\n# escape=`\n",
            "only one escape parser directive can be used",
            1,
            1,
        ),
        ("RUN <<EOF\na\n", "unterminated heredoc", 1, 2),
        ("ENV A", "ENV must have two arguments", 1, 1),
        (
            "\nENV A=b C",
            "Syntax error - can't find = in \"C\". Must be of the form: name=value",
            2,
            2,
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.places, [Lines::new(first, last)], "{text:?}");
    }
}

#[test]
fn long_lines_are_refused_with_the_number() {
    let longest = format!("FROM {}\n", "a".repeat(MAX_LINE_BYTES - 5));
    assert!(parse(&longest).is_ok());
    let longer = format!("FROM a\nFROM {}\n", "a".repeat(MAX_LINE_BYTES - 4));
    let error = parse(&longer).expect_err("too long");
    assert_eq!(
        error.to_string(),
        "dockerfile line greater than max allowed size of 65535"
    );
}

#[test]
fn directives_are_found() {
    for (text, found) in [
        ("# syntax=a/b\n", Some("a/b")),
        ("#SYNTAX = a/b\r\n", Some("a/b")),
        ("// syntax=a\n", Some("a")),
        ("{\"syntax\": \"a\"}", Some("a")),
        ("#!/bin/x\n# syntax=a\n", Some("a")),
        ("# hello\n# syntax=a\n", None),
        ("\n# syntax=a\n", None),
    ] {
        let directive = syntax_directive(text);
        assert_eq!(
            directive.as_ref().map(|found| found.value.as_str()),
            found,
            "{text:?}"
        );
    }
    assert_eq!(
        check_directive("# check=skip=a;error=true\n"),
        Some("skip=a;error=true".to_owned())
    );
}
