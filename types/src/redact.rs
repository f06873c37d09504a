//! Hiding credentials in texts that are stored or shown to others.

use std::borrow::Cow;

/// What stands in place of a user or a password.
const MASK: &str = "xxxxx";

/// Returns `text` with the credentials hidden in every URL that it holds: a password with its user,
/// and a user alone too, since servers take tokens there. Only with `ssh` is a lone user no secret.
///
/// ```
/// use lamina_types::without_credentials;
///
/// let shown = without_credentials("https://token@git.example/a.git#main");
/// assert_eq!(shown, "https://xxxxx@git.example/a.git#main");
/// ```
#[must_use]
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        shown.push_str(before);
        let (user, host) = split_user(after);
        if let Some(user) = user {
            shown.push_str(&masked(user, before.ends_with("ssh://")));
            shown.push('@');
        }
        rest = host;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Splits what follows the scheme into user and the rest; the last `@` before the path counts.
fn split_user(text: &str) -> (Option<&str>, &str) {
    let is_end = |c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace();
    let end = text.find(is_end).unwrap_or(text.len());
    match text[..end].rfind('@') {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    }
}

fn masked(user: &str, is_ssh: bool) -> Cow<'_, str> {
    match user {
        _ if user.contains(':') => format!("{MASK}:{MASK}").into(),
        "" => "".into(),
        _ if is_ssh => user.into(),
        _ => MASK.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden() {
        for (name, text, shown) in [
            ("no URL", "a@b", "a@b"),
            ("nobody", "https://h/a@b", "https://h/a@b"),
            ("both", "https://u:p@h/a", "https://xxxxx:xxxxx@h/a"),
            ("password alone", "http://:p@h", "http://xxxxx:xxxxx@h"),
            ("a token", "https://t@h/a", "https://xxxxx@h/a"),
            ("nothing to hide", "http://@h", "http://@h"),
            ("user of ssh", "ssh://git@h/a", "ssh://git@h/a"),
            ("password of ssh", "ssh://u:p@h/a", "ssh://xxxxx:xxxxx@h/a"),
            ("at sign inside", "http://u:p@q@h", "http://xxxxx:xxxxx@h"),
            ("at sign behind", "http://h?x=a@b", "http://h?x=a@b"),
            (
                "several",
                "copy http://a@h/x 'http://b:c@i'",
                "copy http://xxxxx@h/x 'http://xxxxx:xxxxx@i'",
            ),
            ("several at once", "a://b://c@d", "a://b://xxxxx@d"),
            ("end", "x://", "x://"),
            ("not ASCII", "http://ä:ö@h/ü", "http://xxxxx:xxxxx@h/ü"),
        ] {
            assert_eq!(without_credentials(text), shown, "{name}");
        }
    }
}
