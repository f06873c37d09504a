//! What an image says about its processes (row RMD-01).

use lamina_proto::gateway;
use serde_json::Value;

/// The key of the config in a result's metadata; with a platform behind it where there are several.
const CONFIG: &str = "containerimage.config";

/// What is run where nobody says anything.
const SHELL: &str = "/bin/sh";

/// The part of an image's config that is about processes. What is not there is `null`.
pub(super) struct Image(Value);

impl Image {
    /// Reads the config of what was built.
    pub(super) fn of(built: &gateway::Result) -> Self {
        let mut configs = built.metadata.iter();
        let config = configs.find(|(key, _)| key.starts_with(CONFIG));
        let config = config.and_then(|(_, json)| serde_json::from_slice::<Value>(json).ok());
        Self(config.unwrap_or_default()["config"].take())
    }

    /// Returns what to run: `given`, else entrypoint and command, else a shell.
    pub(super) fn program(&self, given: &[String]) -> Vec<String> {
        if !given.is_empty() {
            return given.to_vec();
        }
        let mut program = self.list("Entrypoint");
        program.extend(self.list("Cmd"));
        match program.is_empty() {
            true => vec![SHELL.to_owned()],
            false => program,
        }
    }

    /// Returns the variables; later ones of a name replace earlier ones.
    pub(super) fn environment(&self, given: &[String]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for variable in self.list("Env").iter().chain(given) {
            let name = variable.split('=').next().unwrap_or_default();
            all.retain(|known| known.split('=').next() != Some(name));
            all.push(variable.clone());
        }
        all
    }

    pub(super) fn directory(&self) -> String {
        match self.text("WorkingDir") {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        }
    }

    pub(super) fn user(&self) -> String {
        self.text("User").to_owned()
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn list(&self, key: &str) -> Vec<String> {
        let list = self.0[key].as_array().into_iter().flatten();
        list.filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(config: &str) -> Image {
        let json = format!("{{\"config\":{config}}}");
        let metadata = [(CONFIG.to_owned(), json.into_bytes())].into();
        Image::of(&gateway::Result {
            metadata,
            ..gateway::Result::default()
        })
    }

    #[test]
    fn the_command_line_comes_before_the_image() {
        let both = r#"{"Entrypoint":["e","1"],"Cmd":["c"]}"#;
        for (config, given, program) in [
            (both, &[][..], &["e", "1", "c"][..]),
            (both, &["x"], &["x"]),
            (r#"{"Cmd":["c"]}"#, &[], &["c"]),
            ("{}", &[], &["/bin/sh"]),
            ("null", &[], &["/bin/sh"]),
        ] {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            assert_eq!(image(config).program(&given), program, "{config}");
        }
    }

    #[test]
    fn the_last_variable_of_a_name_counts() {
        let image = image(r#"{"Env":["A=1","B=2"],"WorkingDir":"/w","User":"u"}"#);
        let given = ["A=3".to_owned(), "C=4".to_owned()];
        assert_eq!(image.environment(&given), ["B=2", "A=3", "C=4"]);
        assert_eq!(
            (image.directory(), image.user()),
            ("/w".to_owned(), "u".to_owned())
        );
    }
}
