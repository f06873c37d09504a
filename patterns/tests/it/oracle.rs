//! Random patterns against slow and simple models of both languages.

use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_patterns::Wildcard;
use proptest::prelude::*;

/// Go's `filepath.Match` by recursion over (star, chunk) pairs, reading the pattern as it goes.
///
/// `Err` is a malformed pattern.
fn naive_match(pattern: &[u8], text: &[u8]) -> Result<bool, ()> {
    check(pattern)?;
    Ok(walk(pattern, text))
}

fn check(pattern: &[u8]) -> Result<(), ()> {
    let mut rest = pattern;
    while !rest.is_empty() {
        let stars = rest.iter().take_while(|byte| **byte == b'*').count();
        let (chunk, after) = rest[stars..].split_at(chunk_end(&rest[stars..]));
        let mut left = chunk;
        while !left.is_empty() {
            left = step(left, None)?.1;
        }
        rest = after;
    }
    Ok(())
}

fn chunk_end(pattern: &[u8]) -> usize {
    let (mut at, mut class) = (0, false);
    while at < pattern.len() {
        match pattern[at] {
            b'\\' => at += 1,
            b'[' => class = true,
            b']' => class = false,
            b'*' if !class => break,
            _ => {}
        }
        at += 1;
    }
    at.min(pattern.len())
}

fn walk(pattern: &[u8], text: &[u8]) -> bool {
    if pattern.is_empty() {
        return text.is_empty();
    }
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let (chunk, after) = pattern[stars..].split_at(chunk_end(&pattern[stars..]));
    if chunk.is_empty() {
        return !text.contains(&b'/');
    }
    for skip in 0..=text.len() {
        if skip > 0 && (stars == 0 || text[skip - 1] == b'/') {
            return false;
        }
        match match_chunk(chunk, &text[skip..]) {
            Some(left) if left.is_empty() || !after.is_empty() => return walk(after, left),
            _ => {}
        }
    }
    false
}

fn match_chunk<'a>(mut chunk: &[u8], mut text: &'a [u8]) -> Option<&'a [u8]> {
    while !chunk.is_empty() {
        let (taken, rest) = step(chunk, Some(text)).ok()?;
        text = &text[taken?..];
        chunk = rest;
    }
    Some(text)
}

/// Reads one element; the first value is how much of the text it matches.
fn step<'p>(chunk: &'p [u8], text: Option<&[u8]>) -> Result<(Option<usize>, &'p [u8]), ()> {
    let text = text.unwrap_or_default();
    let (found, length) = decode(text);
    match chunk[0] {
        b'[' => {
            let (inside, rest) = class(&chunk[1..], found)?;
            Ok(((inside && !text.is_empty()).then_some(length), rest))
        }
        b'?' => Ok((
            (length > 0 && text[0] != b'/').then_some(length),
            &chunk[1..],
        )),
        b'\\' if chunk.len() == 1 => Err(()),
        b'\\' => Ok(((text.first() == Some(&chunk[1])).then_some(1), &chunk[2..])),
        byte => Ok(((text.first() == Some(&byte)).then_some(1), &chunk[1..])),
    }
}

fn class(text: &[u8], found: char) -> Result<(bool, &[u8]), ()> {
    let negated = text.first() == Some(&b'^');
    let mut rest = &text[usize::from(negated)..];
    let (mut inside, mut count) = (false, 0);
    while count == 0 || rest.first() != Some(&b']') {
        let (low, after) = class_char(rest)?;
        let (mut high, mut left) = (low, after);
        if left[0] == b'-' {
            (high, left) = class_char(&left[1..])?;
        }
        inside |= low <= found && found <= high;
        rest = left;
        count += 1;
    }
    Ok((inside != negated, &rest[1..]))
}

fn class_char(text: &[u8]) -> Result<(char, &[u8]), ()> {
    let text = match text.first() {
        None | Some(b'-' | b']') => return Err(()),
        Some(b'\\') => &text[1..],
        Some(_) => text,
    };
    let (found, length) = decode(text);
    let bad = found == char::REPLACEMENT_CHARACTER && length <= 1;
    if bad || text.len() == length {
        return Err(());
    }
    Ok((found, &text[length..]))
}

fn decode(text: &[u8]) -> (char, usize) {
    for length in 1..=text.len().min(4) {
        if let Ok(valid) = std::str::from_utf8(&text[..length]) {
            return (valid.chars().next().expect("not empty"), length);
        }
    }
    (char::REPLACEMENT_CHARACTER, text.len().min(1))
}

/// Bytes that mean something, some that do not, and one character of two bytes.
fn texts(alphabet: &'static [&'static [u8]], most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(alphabet), 0..most).prop_map(|parts| parts.concat())
}

const PATTERN: &[&[u8]] = &[
    b"a",
    b"b",
    b"/",
    b"*",
    b"*",
    b"?",
    b"[",
    b"]",
    b"^",
    b"-",
    b"\\",
    b"!",
    b"{",
    b"\xc3\xa9",
    b"\xff",
    b"[ab]",
    b"[^a]",
];
const TEXT: &[&[u8]] = &[
    b"a",
    b"a",
    b"b",
    b"b",
    b"/",
    b"*",
    b"-",
    b"\xc3\xa9",
    b"\xff",
    b"\n",
];
const NAMES: &[&str] = &["a", "b", "ab", "c.o"];
const RULES: &[&str] = &[
    "a", "b", "!a", "!b", "a/b", "!a/b", "*", "!*", "*/b", "a/*", "**/b", "!**/b", "a/**", "!a/**",
    "**/a/**", "a/**/b", "!a/**/b", "c.*", "**/*.o", "!**/*.o", "a?", "[ab]",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn wildcard_equals_naive(pattern in texts(PATTERN, 8), text in texts(TEXT, 7)) {
        match (Wildcard::new(&pattern), naive_match(&pattern, &text)) {
            (Ok(wildcard), Ok(wanted)) => prop_assert_eq!(wildcard.matches(&text), wanted),
            (ours, naive) => prop_assert_eq!(ours.is_err(), naive.is_err()),
        }
    }
}

/// Says whether `pattern` (no `!`) matches `path` itself, component by component.
fn rule_matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), _) => !path.is_empty(),
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skip| rule_matches(rest, &path[skip..])),
        (Some((first, rest)), Some((name, below))) => {
            naive_match(first.as_bytes(), name.as_bytes()) == Ok(true) && rule_matches(rest, below)
        }
        _ => false,
    }
}

fn naive_list(rules: &[&str], path: &[&str]) -> bool {
    let mut matched = false;
    for rule in rules {
        let (taken_back, rule) = match rule.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, *rule),
        };
        let parts: Vec<&str> = rule.split('/').collect();
        if (1..=path.len()).any(|end| rule_matches(&parts, &path[..end])) {
            matched = !taken_back;
        }
    }
    matched
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn list_equals_naive(
        rules in prop::collection::vec(prop::sample::select(RULES), 0..5),
        path in prop::collection::vec(prop::sample::select(NAMES), 1..5),
    ) {
        let list = PatternList::new(&rules).expect("rules are well formed");
        let joined = path.join("/");
        let wanted = naive_list(&rules, &path);
        prop_assert_eq!(list.matches_path(joined.as_bytes()), wanted);
        // Where the whole list matches below, no parent may be pruned.
        for end in 1..path.len() {
            let parent = path[..end].join("/");
            prop_assert!(!wanted || list.may_match_below(parent.as_bytes()));
        }
    }

    #[test]
    fn walking_down_equals_the_whole_path_without_exclusions(
        rules in prop::collection::vec(prop::sample::select(RULES), 0..5),
        path in prop::collection::vec(prop::sample::select(NAMES), 1..5),
    ) {
        let rules: Vec<&str> = rules.into_iter().filter(|rule| !rule.starts_with('!')).collect();
        let list = PatternList::new(&rules).expect("rules are well formed");
        let mut parent = ParentMatch::default();
        let mut matched = false;
        for end in 1..=path.len() {
            (matched, parent) = list.matches(path[..end].join("/").as_bytes(), &parent);
        }
        prop_assert_eq!(matched, list.matches_path(path.join("/").as_bytes()));
    }

    #[test]
    fn no_input_panics(pattern in ".{0,12}", path in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(list) = PatternList::new(&[&pattern]) {
            let matched = list.matches_path(&path);
            prop_assert_eq!(matched, list.deciding(&path).is_some() && !list.has_exclusions());
            let below = list.may_match_below(&path) || list.may_take_back_below(&path);
            prop_assert!(below || !matched || path.is_empty());
        }
    }
}
