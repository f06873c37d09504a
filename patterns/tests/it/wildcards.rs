//! Rows of Go's `filepath.Match` (row FIL-14).

use lamina_patterns::PatternError;
use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;

/// A row is `name: pattern, text => matched` or `name: pattern => bad`.
macro_rules! wildcards {
    ($($name:ident: $pattern:expr, $text:expr => $wanted:expr;)*) => {
        $(#[test]
        fn $name() {
            let pattern: &[u8] = $pattern.as_ref();
            let wildcard = Wildcard::new(pattern).expect("pattern is well formed");
            assert_eq!(wildcard.matches($text.as_ref()), $wanted);
        })*
    };
}

wildcards! {
    literal: "abc", "abc" => true;
    star_alone: "*", "abc" => true;
    star_matches_nothing_too: "*c", "c" => true;
    star_then_literal: "*c", "abc" => true;
    star_at_end: "a*", "abc" => true;
    star_stops_at_slash: "a*", "ab/c" => false;
    star_in_parent: "a*/b", "abc/b" => true;
    star_in_parent_stops_at_slash: "a*/b", "a/c/b" => false;
    many_stars: "a*b*c*d*e*/f", "axbxcxdxe/f" => true;
    many_stars_with_text: "a*b*c*d*e*/f", "axbxcxdxexxx/f" => true;
    many_stars_too_deep: "a*b*c*d*e*/f", "axbxcxdxe/xxx/f" => false;
    star_then_question: "a*b?c*x", "abxbbxdbxebxczzx" => true;
    star_then_question_no_end: "a*b?c*x", "abxbbxdbxebxczzy" => false;
    class: "ab[c]", "abc" => true;
    class_range: "ab[b-d]", "abc" => true;
    class_range_misses: "ab[e-g]", "abc" => false;
    class_negated: "ab[^c]", "abc" => false;
    class_negated_matches: "ab[^e-g]", "abc" => true;
    class_negated_matches_slash: "a[^x]b", "a/b" => true;
    class_range_over_slash: "a[.-0]b", "a/b" => true;
    class_with_bang_is_plain: "[!a]", "!" => true;
    class_with_bang_does_not_negate: "[!a]", "b" => false;
    escaped_star: "a\\*b", "a*b" => true;
    escaped_star_is_no_star: "a\\*b", "ab" => false;
    question_is_a_character: "a?b", "a☺b" => true;
    negated_class_is_a_character: "a[^a]b", "a☺b" => true;
    three_questions: "a???b", "a☺b" => false;
    wide_range: "[a-ζ]*", "α" => true;
    star_does_not_match_wide_and_slash: "*[a-ζ]", "A" => false;
    question_misses_slash: "a?b", "a/b" => false;
    star_misses_slash: "a*b", "a/b" => false;
    escaped_bracket_in_class: "[\\]a]", "]" => true;
    escaped_dash_in_class: "[\\-]", "-" => true;
    dash_after_escape: "[x\\-]", "-" => true;
    dash_after_escape_misses: "[x\\-]", "z" => false;
    braces_are_plain: "{a,b}", "{a,b}" => true;
    braces_do_not_alternate: "{a,b}", "a" => false;
    two_stars_do_not_cross: "a**b", "a/b" => false;
    two_stars_are_one: "a**b", "axxb" => true;
    two_stars_as_component: "**/b", "a/c/b" => false;
    dot_is_plain: "a.c", "abc" => false;
    hidden_names_match: "*", ".hidden" => true;
    empty: "", "" => true;
    empty_text: "a", "" => false;
    star_on_empty_text: "*", "" => true;
    rooted: "/a*", "/ab" => true;
    reversed_range_matches_nothing: "[b-a]", "a" => false;
    bytes: [b'a', b'*', 0xff], [b'a', 0xfe, 0xff] => true;
    question_takes_one_bad_byte: "a?b", [b'a', 0xff, b'b'] => true;
    question_takes_one_of_two_bad_bytes: "a?b", [b'a', 0xff, 0xfe, b'b'] => false;
    leftmost_chunk_is_kept: "*[^x]*b", "a/b" => false;
    newline_is_a_character: "a*b", "a\nb" => true;
}

#[test]
fn malformed_patterns_are_refused() {
    for pattern in [
        "[", "[a", "[]", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[a-", "a[", "[^]", "[^bc",
        "\\", "a\\", "*[", "a*x[", "[\\",
    ] {
        let wanted = PatternError::Syntax {
            pattern: pattern.to_owned(),
        };
        assert_eq!(
            Wildcard::new(pattern.as_bytes()).expect_err(pattern),
            wanted
        );
    }
    assert!(Wildcard::new(b"[\xff]").is_err(), "bad byte in a class");
}

#[test]
fn errors_quote_the_pattern() {
    let error = Wildcard::new(b"a[").expect_err("malformed");
    assert_eq!(error.to_string(), "syntax error in pattern \"a[\"");
}

#[test]
fn what_is_a_wildcard() {
    for (text, wanted) in [
        ("a", false),
        ("a*", true),
        ("a?", true),
        ("[a]", true),
        ("a]", false),
        ("\\*", false),
        ("\\\\*", true),
        ("a\\", false),
        ("{a,b}", false),
    ] {
        assert_eq!(is_wildcard(text.as_bytes()), wanted, "{text}");
    }
}
