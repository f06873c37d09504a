//! Reading what `git ls-remote` says.

/// A name of the remote and what it points to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The full name.
    pub(super) name: String,
    /// The object that it points to.
    pub(super) object: String,
    /// The commit, if the object is an annotated tag.
    pub(super) peeled: Option<String>,
}

/// Says whether a text is the whole id of an object, in either format of repositories.
pub(super) fn is_object_id(text: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(text.len(), 40 | 64) && text.bytes().all(is_hex)
}

/// Says whether a name can be given to git without being taken for something else.
pub(super) fn is_safe_name(name: &str) -> bool {
    let has_meaning = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !name.starts_with('-')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(has_meaning)
}

/// Returns the patterns by which everything that [`choose`] may take is listed.
pub(super) fn patterns(reference: &str) -> [String; 2] {
    [reference.to_owned(), format!("{reference}^{{}}")]
}

/// Returns what `reference` means: a full name, else a branch, else a tag (row SRC-16).
pub(super) fn choose(listed: &str, reference: &str) -> Option<Found> {
    let full = |prefix: &str| {
        let short = reference.strip_prefix(prefix).unwrap_or(reference);
        format!("{prefix}{short}")
    };
    let (partial, branch, tag) = (full("refs/"), full("refs/heads/"), full("refs/tags/"));
    let names = [partial, branch, tag];
    names.into_iter().find_map(|name| {
        let object = object_of(listed, &name)?;
        let peeled = object_of(listed, &format!("{name}^{{}}"));
        Some(Found {
            name,
            object,
            peeled,
        })
    })
}

/// Returns the main branch of `git ls-remote --symref <remote> HEAD`.
pub(super) fn default_branch(listed: &str) -> Option<Found> {
    let mut lines = listed.lines();
    let name = lines.find_map(|line| {
        let (target, name) = line.strip_prefix("ref: ")?.split_once('\t')?;
        let is_branch = name == "HEAD" && target.starts_with("refs/heads/");
        (is_branch && is_safe_name(target)).then(|| target.to_owned())
    })?;
    Some(Found {
        name,
        object: object_of(listed, "HEAD")?,
        peeled: None,
    })
}

/// Returns the tags of `git ls-remote --tags` that mean `commit`.
pub(super) fn tags_of(listed: &str, commit: &str) -> Vec<String> {
    let of_commit = pairs(listed).filter(|(object, _)| *object == commit);
    let names = of_commit.map(|(_, name)| name.strip_suffix("^{}").unwrap_or(name));
    names
        .filter(|name| name.starts_with("refs/tags/") && is_safe_name(name))
        .map(str::to_owned)
        .collect()
}

fn object_of(listed: &str, wanted: &str) -> Option<String> {
    // What a name stands for has a line of the same form.
    let mut found = pairs(listed).filter(|(object, name)| *name == wanted && is_object_id(object));
    found.next().map(|(object, _)| object.to_owned())
}

fn pairs(listed: &str) -> impl Iterator<Item = (&str, &str)> {
    listed.lines().filter_map(|line| line.split_once('\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn listed(lines: &[(&str, &str)]) -> String {
        let lines = lines.iter();
        lines
            .map(|(object, name)| format!("{object}\t{name}\n"))
            .collect()
    }

    #[test]
    fn names_are_looked_for_in_order() {
        let branch = ("refs/heads/x", A);
        let tag = ("refs/tags/x", B);
        for (name, lines, reference, wanted) in [
            ("branch", vec![branch], "x", Some("refs/heads/x")),
            ("tag", vec![tag], "x", Some("refs/tags/x")),
            ("both", vec![branch, tag], "x", Some("refs/heads/x")),
            (
                "full tag",
                vec![branch, tag],
                "refs/tags/x",
                Some("refs/tags/x"),
            ),
            ("partial", vec![branch, tag], "tags/x", Some("refs/tags/x")),
            (
                "pull request",
                vec![("refs/pull/1/head", A)],
                "pull/1/head",
                Some("refs/pull/1/head"),
            ),
            ("end of another", vec![("refs/heads/y/x", A)], "x", None),
            ("nothing", vec![], "x", None),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|(name, id)| (id, name)).collect();
            let found = choose(&listed(&lines), reference);
            let found = found.map(|found| found.name);
            assert_eq!(found.as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn annotated_tags_are_peeled() {
        let lines = listed(&[(A, "refs/tags/v1"), (B, "refs/tags/v1^{}")]);
        let found = choose(&lines, "v1").expect("there");
        assert_eq!(found.object, A);
        assert_eq!(found.peeled.as_deref(), Some(B));
        assert_eq!(tags_of(&lines, B), ["refs/tags/v1"]);
    }

    #[test]
    fn the_main_branch_is_named() {
        let text = format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n");
        let found = default_branch(&text).expect("there");
        assert_eq!(
            (found.name.as_str(), found.object.as_str()),
            ("refs/heads/main", A)
        );
        assert_eq!(default_branch(&format!("{A}\tHEAD\n")), None);
        assert_eq!(default_branch("ref: refs/heads/-x\tHEAD\n"), None);
    }

    #[test]
    fn names_that_git_would_read_otherwise_are_refused() {
        for name in [
            "--upload-pack=x",
            "a b",
            "a:b",
            "a..b",
            "a^",
            "x*",
            "a@{1}",
            "a\nb",
        ] {
            assert!(!is_safe_name(name), "{name:?}");
        }
        assert!(is_safe_name("refs/heads/feature/x-1.2"));
        assert!(is_object_id(A) && !is_object_id("abc") && !is_object_id(&A.to_uppercase()));
    }
}
