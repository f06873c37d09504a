//! Tables of expansions (row DFL-03).

use super::*;

fn env() -> Env {
    [
        ("set", "value"),
        ("empty", ""),
        ("path", "/usr/local/lib/libfoo.so.1.2"),
        ("rep", "foobarbaz"),
        ("glob", "a?b*c"),
        ("two", "a b"),
    ]
    .into_iter()
    .collect()
}

fn expanded(text: &str) -> String {
    match Lexer::new('\\').expand(text, &env()).text {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

macro_rules! expansions {
    ($($name:ident: $text:expr => $result:expr;)*) => { $(
        #[test]
        fn $name() {
            assert_eq!(expanded($text), $result);
        }
    )* };
}

expansions! {
    plain_text: "a b" => "a b";
    variable: "$set/$set" => "value/value";
    unset_is_empty: "[$nope]" => "[]";
    braces: "${set}s" => "values";
    single_quotes_keep: "'$set'" => "$set";
    double_quotes_expand: "\"$set\"" => "value";
    escaped_dollar: "\\$set" => "$set";
    escape_in_double_quotes: "\"\\a\\\"\"" => "\\a\"";
    dollar_at_end: "a$" => "a$";
    dollar_before_slash: "$/x" => "$/x";
    dollar_dollar: "$$x" => "x";
    specials_are_empty: "[$@$*$#$?$-$!$1]" => "[]";
    default_for_unset: "${nope:-d}${nope-d}" => "dd";
    default_for_empty: "${empty:-d}${empty-d}" => "d";
    default_is_expanded: "${nope:-$set}" => "value";
    alternative: "${set:+y}${set+y}${nope:+y}${nope+y}" => "yy";
    alternative_for_empty: "[${empty:+y}][${empty+y}]" => "[][y]";
    required_and_set: "${set:?no}${empty?no}" => "value";
    required_unset: "${nope?}" => "error: failed to process \"${nope?}\": nope: is not allowed to be unset";
    required_empty: "${empty:?}" => "error: failed to process \"${empty:?}\": empty: is not allowed to be empty";
    required_message: "${nope:?why not}" => "error: failed to process \"${nope:?why not}\": nope: why not";
    cut_shortest_prefix: "${path#*/}" => "usr/local/lib/libfoo.so.1.2";
    cut_longest_prefix: "${path##*/}" => "libfoo.so.1.2";
    cut_shortest_suffix: "${path%.*}" => "/usr/local/lib/libfoo.so.1";
    cut_longest_suffix: "${path%%.*}" => "/usr/local/lib/libfoo";
    cut_escaped_star: "${glob#a\\?}" => "b*c";
    replace_first: "${rep/ba/X}" => "fooXrbaz";
    replace_all: "${rep//ba/X}" => "fooXrXz";
    replace_with_slash: "${path/\\/usr/x}" => "x/local/lib/libfoo.so.1.2";
    replace_star: "${rep/b*/X}" => "fooX";
    bad_pattern: "${rep/\\o/x}" => "error: failed to process \"${rep/\\\\o/x}\": invalid pattern (\\o) in substitution: invalid escape '\\o'";
    no_closing_brace: "${set" => "error: failed to process \"${set\": unsupported modifier (\u{fffd}) in substitution";
    no_closing_brace_after_word: "${set:-x" => "error: failed to process \"${set:-x\": syntax error: missing '}'";
    nothing_in_braces: "${}" => "error: failed to process \"${}\": syntax error: bad substitution";
    unknown_operator: "${set@Q}" => "error: failed to process \"${set@Q}\": unsupported modifier (@) in substitution";
    colon_before_pattern: "${set:#x}" => "error: failed to process \"${set:#x}\": unsupported modifier (:#) in substitution";
    open_single_quote: "'a" => "error: failed to process \"'a\": unexpected end of statement while looking for matching single-quote";
    open_double_quote: "\"a" => "error: failed to process \"\\\"a\": unexpected end of statement while looking for matching double-quote";
}

#[test]
fn words_are_cut_after_expansion() {
    let lexer = Lexer::new('\\');
    for (text, words) in [
        ("a b", vec!["a", "b"]),
        ("$two", vec!["a", "b"]),
        ("\"$two\"", vec!["a b"]),
        ("a\\ b c", vec!["a b", "c"]),
        ("'' x", vec!["x"]),
    ] {
        assert_eq!(lexer.words(text, &env()).expect(text), words, "{text}");
    }
}

#[test]
fn used_variables_are_reported() {
    let expansion = Lexer::new('\\').expand("$set ${nope:-x} '$quoted'", &env());
    assert_eq!(expansion.found, BTreeSet::from(["set".to_owned()]));
    assert_eq!(expansion.missing, BTreeSet::from(["nope".to_owned()]));
}

#[test]
fn unset_variables_can_be_kept() {
    let lexer = Lexer::new('\\').keep_unset().raw_quotes();
    let expansion = lexer.expand("$set \"$nope\" ${nope:-x}", &env());
    assert_eq!(
        expansion.text.expect("expands"),
        "value \"$nope\" ${nope:-x}"
    );
}

#[test]
fn backtick_escapes() {
    let lexer = Lexer::new('`');
    assert_eq!(
        lexer.expand("`$set\\$set", &env()).text.expect("expands"),
        "$set\\value"
    );
}

#[test]
fn deep_nesting_is_refused() {
    let text = "${a:-".repeat(10_000);
    assert!(Lexer::new('\\').expand(&text, &env()).text.is_err());
}
