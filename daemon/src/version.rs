//! What the program says it is (rows CTL-01, FLG-15).

use std::sync::LazyLock;

use lamina_engine::Version;
use lamina_frontend::DOCKERFILE_VERSION;

/// Returns product, version and commit, as `Info` gives them. The version is `vX.Y.Z`, which
/// clients compare.
#[must_use]
pub fn version() -> Version {
    Version {
        package: "github.com/lamina-build/lamina".to_owned(),
        version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        revision: option_env!("LAMINA_REVISION").unwrap_or("").to_owned(),
        dockerfile: DOCKERFILE_VERSION.to_owned(),
    }
}

/// Returns the same as one line, for `--version` after the name of the program.
#[must_use]
pub fn version_line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| {
        let version = version();
        let words = [version.package, version.version, version.revision];
        words.join(" ").trim_end().to_owned()
    });
    &LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_compare_the_version() {
        let version = version().version;
        let numbers = version.strip_prefix('v').expect("a v").split('.');
        let numbers: Vec<_> = numbers.map(str::parse::<u32>).collect();
        assert_eq!(numbers.len(), 3, "{version}");
        assert!(numbers.iter().all(Result::is_ok), "{version}");
    }
}
