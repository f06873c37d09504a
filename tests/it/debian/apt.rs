//! What this machine's package manager knows: its sources in both formats, and how to reach them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A place that packages come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) suite: String,
    pub(super) components: Vec<String>,
    /// The file with the keys that it signs with, if it names one.
    pub(super) keyring: Option<PathBuf>,
    pub(super) trusted: bool,
}

impl Source {
    /// Returns the source as a line of a sources.list that takes its keys from `keyring`.
    pub(super) fn line(&self, keyring: Option<&str>) -> String {
        let keys = keyring.map(|file| format!("signed-by={file}"));
        let trusted = self.trusted.then(|| "trusted=yes".to_owned());
        let options: Vec<String> = keys.into_iter().chain(trusted).collect();
        let options = match options.as_slice() {
            [] => String::new(),
            all => format!("[{}] ", all.join(" ")),
        };
        let components = self.components.join(" ");
        format!("deb {options}{} {} {components}\n", self.uri, self.suite)
    }
}

/// Returns the machine's first source of `suite` that the network reaches.
pub(super) fn source_of(suite: &str) -> Option<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let entries = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    let mut more: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    more.sort();
    files.append(&mut more);
    files
        .iter()
        .flat_map(|file| sources_in(file))
        .find(|source| source.suite == suite && source.uri.starts_with("http"))
}

fn sources_in(file: &Path) -> Vec<Source> {
    let text = fs::read_to_string(file).unwrap_or_default();
    match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("list") => text.lines().filter_map(one_line).collect(),
        Some("sources") => stanzas(&text).iter().flat_map(deb822).collect(),
        _ => Vec::new(),
    }
}

/// Parses `deb [option=value ...] uri suite component ...`.
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        let mut pairs = options
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    };
    let mut words = rest.split_whitespace();
    Some(Source {
        uri: words.next()?.to_owned(),
        suite: words.next()?.to_owned(),
        components: words.map(str::to_owned).collect(),
        keyring: option("signed-by").and_then(keyring),
        trusted: option("trusted") == Some("yes"),
    })
}

/// Splits a deb822 file into stanzas of fields in lower case; continued lines are joined.
fn stanzas(text: &str) -> Vec<HashMap<String, String>> {
    let mut all = vec![HashMap::new()];
    let mut last = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: &mut HashMap<String, String> = all.last_mut().expect("never empty");
        if line.trim().is_empty() {
            all.push(HashMap::new());
        } else if line.starts_with(char::is_whitespace) {
            let value = fields.entry(last.clone()).or_default();
            value.push('\n');
            value.push_str(line.trim());
        } else if let Some((key, value)) = line.split_once(':') {
            last = key.trim().to_lowercase();
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    all
}

/// Returns the sources of a stanza: one for each address and suite.
fn deb822(stanza: &HashMap<String, String>) -> Vec<Source> {
    let field = |name: &str| stanza.get(name).map_or("", String::as_str);
    let words = |name: &str| field(name).split_whitespace();
    if field("enabled") == "no" || !words("types").any(|kind| kind == "deb") {
        return Vec::new();
    }
    let source = |uri: &str, suite: &str| Source {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        components: words("components").map(str::to_owned).collect(),
        keyring: keyring(field("signed-by")),
        trusted: field("trusted") == "yes",
    };
    words("uris")
        .flat_map(|uri| words("suites").map(move |suite| (uri, suite)))
        .map(|(uri, suite)| source(uri, suite))
        .collect()
}

/// Returns the first file that a signed-by names; it may also hold fingerprints or a key itself.
fn keyring(value: &str) -> Option<PathBuf> {
    let mut names = value.split([',', ' ', '\n']);
    names.find(|name| name.starts_with('/')).map(PathBuf::from)
}

/// Returns the settings that decide how sources are reached and believed, as apt writes them.
pub(super) fn network_settings() -> String {
    let output = Command::new("apt-config").arg("dump").output();
    let dump = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let dump = dump.unwrap_or_default();
    dump.lines()
        .filter(|line| is_of_network(line))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn is_of_network(line: &str) -> bool {
    let line = line.to_lowercase();
    let prefixes = ["http", "https", "check", "retries", "forceipv"];
    let setting = line.strip_prefix("acquire::");
    // A script that finds a proxy is not there in a container.
    setting.is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        && !line.contains("detect")
}

/// Returns the value of a setting, if it has one.
pub(super) fn setting(settings: &str, name: &str) -> Option<String> {
    let value = settings.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let value = value.trim_end_matches(';').trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

#[test]
fn one_line_sources_are_understood() {
    for (name, line, expected) in [
        (
            "plain",
            "deb http://a/d s main x",
            Some("deb http://a/d s main x\n"),
        ),
        (
            "spaces",
            " deb\thttp://a/d  s  main # why",
            Some("deb http://a/d s main\n"),
        ),
        (
            "trusted",
            "deb [trusted=yes arch=a] http://a s m",
            Some("deb [trusted=yes] http://a s m\n"),
        ),
        ("source code", "deb-src http://a/d s main", None),
        ("comment", "# deb http://a/d s main", None),
        ("unclosed", "deb [a=b http://a/d s main", None),
        ("too short", "deb http://a/d", None),
    ] {
        let line = one_line(line).map(|source| source.line(None));
        assert_eq!(line.as_deref(), expected, "{name}");
    }
    let signed = one_line("deb [signed-by=/k.gpg] http://a s m").expect("a source");
    assert_eq!(signed.keyring, Some(PathBuf::from("/k.gpg")));
}

#[test]
fn deb822_sources_are_understood() {
    let text = "Types: deb deb-src\n# why\nURIs: http://a http://b\nSuites: s\n t\nComponents: m\n\
                Signed-By: /k.gpg\n\nTypes: deb-src\nURIs: http://c\nSuites: s\n\n\
                Enabled: no\nTypes: deb\nURIs: http://d\nSuites: s\n\nnonsense\n";
    let sources: Vec<Source> = stanzas(text).iter().flat_map(deb822).collect();
    let lines: Vec<String> = sources
        .iter()
        .map(|source| source.line(Some("/k")))
        .collect();
    let line = |rest: &str| format!("deb [signed-by=/k] {rest} m\n");
    assert_eq!(
        lines,
        ["http://a s", "http://a t", "http://b s", "http://b t"].map(line)
    );
    assert!(
        sources
            .iter()
            .all(|source| source.keyring == Some(PathBuf::from("/k.gpg")))
    );
}

#[test]
fn settings_of_the_network_are_told_apart() {
    let dump = "Acquire::http::Proxy \"http://p:1\";\nAcquire::Languages:: \"none\";\n\
                Acquire::http::Proxy-Auto-Detect \"/bin/find\";\nAPT::Sandbox::User \"x\";\n";
    let kept: Vec<&str> = dump.lines().filter(|line| is_of_network(line)).collect();
    assert_eq!(kept, ["Acquire::http::Proxy \"http://p:1\";"]);
    assert_eq!(
        setting(kept[0], "acquire::http::proxy").as_deref(),
        Some("http://p:1")
    );
    assert_eq!(
        setting("Acquire::http::Proxy \"\";", "Acquire::http::Proxy"),
        None
    );
}
