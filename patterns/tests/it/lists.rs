//! Rows of the ignore-file language (rows FIL-16, SRC-11, FDF-47).

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternError;
use lamina_patterns::PatternList;

fn list(patterns: &[&str]) -> PatternList {
    PatternList::new(patterns).expect("patterns are well formed")
}

/// A row is `name: [patterns], path => matched`.
macro_rules! lists {
    ($($name:ident: $patterns:expr, $path:expr => $wanted:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(list(&$patterns).matches_path($path.as_ref()), $wanted);
        })*
    };
}

lists! {
    nothing: [], "a" => false;
    blank_is_left_out: ["", "  "], "a" => false;
    exact: ["a"], "a" => true;
    parent_counts: ["a"], "a/b/c" => true;
    star_parent_counts: ["a*"], "ab/c" => true;
    child_does_not: ["a/b"], "a" => false;
    all: ["**"], "a/b" => true;
    all_as_directories: ["**/"], "a" => true;
    all_below: ["a/**"], "a/b/c" => true;
    all_below_not_itself: ["a/**"], "a" => false;
    any_depth_here: ["**/a"], "a" => true;
    any_depth_below: ["**/a"], "x/y/a" => true;
    any_depth_is_suffix_of_component: ["**/a"], "x/ya" => false;
    two_stars_glued: ["**a"], "xya" => true;
    two_stars_glued_deep: ["**a"], "x/ya" => true;
    middle_none: ["a/**/b"], "a/b" => true;
    middle_many: ["a/**/b"], "a/x/y/b" => true;
    middle_glued: ["a**/b"], "ax/b" => true;
    middle_glued_needs_slash: ["a**b"], "axb" => false;
    middle_glued_direct: ["a**/b"], "ab" => true;
    both_ends: ["**/a/**"], "x/a/y" => true;
    both_ends_itself: ["**/a/**"], "a" => false;
    star_not_slash: ["a/*"], "a/b" => true;
    star_counts_for_below: ["a/*"], "a/b/c" => true;
    star_not_parent: ["*/b"], "a/c/b" => false;
    question: ["a?c"], "abc" => true;
    question_not_slash: ["a?c"], "a/c" => false;
    cleaned_dot: ["./a"], "a" => true;
    cleaned_slash: ["a/"], "a" => true;
    cleaned_dots: ["a/../b"], "b" => true;
    trimmed: ["  a "], "a" => true;
    rooted_never_matches_relative: ["/a"], "a" => false;
    dot_matches_nothing: ["."], "a" => false;
    regex_characters_are_plain: ["a.|)$(}+{bc"], "a.|)$(}+{bc" => true;
    regex_characters_with_star: ["a(b)c.d+*"], "a(b)c.d+x" => true;
    dot_is_plain: ["a.c*"], "abc" => false;
    escaped_star: ["a\\*b"], "a*b" => true;
    escaped_star_only: ["a\\*b"], "axb" => false;
    escaped_letter_is_go_regex: ["\\d"], "d" => false;
    escaped_letter_is_class: ["\\d"], "7" => true;
    escaped_letter_is_control: ["a\\f"], "a\x0c" => true;
    escaped_space: ["a\\ b"], "a b" => true;
    class: ["[a-c].x"], "b.x" => true;
    class_negated: ["[^a-c].x"], "b.x" => false;
    class_negated_takes_slash: ["a[^b]c"], "a/c" => true;
    class_bang: ["[!a]"], "!" => true;
    class_star_ends_it: ["[*]"], "*" => false;
    class_star_ends_it_early: ["[*]"], "[^/]" => true;
    taken_back: ["a*", "!ab"], "ab" => false;
    taken_back_others_stay: ["a*", "!ab"], "ac" => true;
    taken_back_before_matters_not: ["!ab", "a*"], "ab" => true;
    taken_back_child: ["a", "!a/b"], "a/b" => false;
    taken_back_child_others_stay: ["a", "!a/b"], "a/c" => true;
    taken_back_again: ["a", "!a/b", "a/b/c"], "a/b/c" => true;
    taken_back_parent: ["a", "!a"], "a/b" => false;
    taken_back_then_matched: ["**/*.o", "!keep", "keep/x.o"], "keep/x.o" => true;
    bad_bytes: ["a?b"], [b'a', 0xff, b'b'] => true;
    bad_bytes_are_characters: ["a?b"], [b'a', 0xff, 0xfe, b'b'] => false;
    newline_in_star: ["a*b"], "a\nb" => true;
    unicode: ["?"], "é" => true;
}

#[test]
fn malformed_patterns_are_refused() {
    for pattern in ["[", "a/[", "[]a]", "[a-]", "a\\", "![", "[b-a]", "\\q"] {
        let error = PatternList::new(&["ok", pattern]).expect_err(pattern);
        assert!(
            error.to_string().starts_with("syntax error in pattern"),
            "{error}"
        );
    }
    assert_eq!(
        PatternList::new(&["!"]).expect_err("!"),
        PatternError::LoneExclusion
    );
    assert_eq!(
        PatternError::LoneExclusion.to_string(),
        "illegal exclusion pattern: \"!\""
    );
}

#[test]
fn facts_about_the_list() {
    assert!(list(&[]).is_empty());
    assert!(!list(&["a"]).has_exclusions());
    assert!(list(&["a", "!b"]).has_exclusions());
    let deciding = list(&["a", " ", "!a/b", "a/b/c"]);
    assert_eq!(deciding.deciding(b"a/x"), Some(0));
    assert_eq!(deciding.deciding(b"a/b/x"), Some(2));
    assert_eq!(deciding.deciding(b"a/b/c"), Some(3));
    assert_eq!(deciding.deciding(b"x"), None);
}

#[test]
fn parents_are_not_tried_again_below() {
    let list = list(&["a", "!a/b", "a/b/c"]);
    let (a, below_a) = list.matches(b"a", &ParentMatch::default());
    let (b, below_b) = list.matches(b"a/b", &below_a);
    let (c, _) = list.matches(b"a/b/c", &below_b);
    let (d, _) = list.matches(b"a/b/d", &below_b);
    assert_eq!((a, b, c, d), (true, false, true, false));
}

#[test]
fn walks_are_narrowed() {
    for (name, patterns, directory, wanted) in [
        ("towards", &["a/b/c"][..], "a", true),
        ("aside", &["a/b/c"], "x", false),
        ("aside deeper", &["a/b/c"], "a/x", false),
        ("at it", &["a/b"], "a/b", true),
        ("below it", &["a/b"], "a/b/c", true),
        ("star", &["a/*/c"], "a/x", true),
        ("star behind another name", &["a/*/c"], "b", false),
        ("any depth", &["**/c"], "x/y", true),
        ("exclusions do not count", &["!a"], "a", false),
        ("root", &["a"], "", true),
        ("nothing", &[], "a", false),
    ] {
        let list = list(patterns);
        assert_eq!(list.may_match_below(directory.as_bytes()), wanted, "{name}");
    }
    let list = list(&["a", "!a/b/c"]);
    assert!(list.may_take_back_below(b"a/b"));
    assert!(!list.may_take_back_below(b"a/x"));
}
