//! What instructions do to an image config (row DFL-08). The config itself is `lamina_content`'s.

use lamina_content::ImageConfig;

use crate::paths::System;

/// Marks our history entries.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// Reads the config of a base. Fields that are not known are dropped, as BuildKit does: they describe
/// how the base was made, not what is made of it.
///
/// # Errors
/// If the text is no image config.
pub fn parse(bytes: &[u8]) -> serde_json::Result<ImageConfig> {
    let mut image: ImageConfig = serde_json::from_slice(bytes)?;
    image.other.clear();
    image.config.other.clear();
    Ok(image)
}

/// Says whether the image has no layers at all.
#[must_use]
pub fn has_no_layers(image: &ImageConfig) -> bool {
    image.rootfs.diff_ids.is_empty() && image.history.iter().all(|entry| entry.empty_layer)
}

/// Sets a variable in place, or adds it at the end.
pub fn set_env(image: &mut ImageConfig, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let known = |line: &&mut String| line.split('=').next() == Some(name);
    match image.config.env.iter_mut().find(known) {
        Some(line) => *line = entry,
        None => image.config.env.push(entry),
    }
}

/// Returns the words that run `words` in the image's shell.
#[must_use]
pub fn in_shell(image: &ImageConfig, words: &[String]) -> Vec<String> {
    let mut command = if image.config.shell.is_empty() {
        System::of(&image.os).default_shell()
    } else {
        image.config.shell.clone()
    };
    command.push(words.join(" "));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_of_a_base_are_dropped() {
        let text = br#"{"architecture":"amd64","os":"linux","docker_version":"1",
            "config":{"Cmd":["x"],"Hostname":"h"},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let image = parse(text).expect("is a config");
        assert_eq!(image.config.cmd, ["x"]);
        assert!(image.other.is_empty() && image.config.other.is_empty());
    }
}
