//! The frontend itself: from the client's options to a solved definition and its metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_content::ImageConfig;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::Reference;
use lamina_llb::ResultRefs;
use lamina_llb::SolveOptions;
use lamina_llb::Warning;
use lamina_types::Platform;
use serde::Serialize;

use crate::client::Client;
use crate::client::Source;
use crate::convert::Converted;
use crate::convert::Job;
use crate::convert::convert;
use crate::convert::linter;
use crate::error::FrontendError;
use crate::error::MAX_SHOWN_BYTES;
use crate::error::Result;
use crate::lint::Finding;
use crate::lint::Linter;
use crate::options::Options;
use crate::options::OptionsError;
use crate::platform::format_all;
use crate::quote::quoted;
use crate::syntax::syntax_directive;

mod answer;
mod hand_over;

/// The version of Dockerfiles that the built-in frontend understands.
pub const DOCKERFILE_VERSION: &str = "1.26.0";

/// The value of `# syntax=` that asks for this frontend by name (row FDF-34).
pub(crate) const OWN_NAME: &str = "dockerfile.v0";

/// What `frontend.caps` may ask for.
const CAPS: [&str; 4] = [
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// The built-in frontend for Dockerfiles, `dockerfile.v0`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DockerfileFrontend;

#[async_trait]
impl Frontend for DockerfileFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> std::result::Result<BuildResult, BuildError> {
        let prepared = prepare(bridge).await;
        let build = prepared.map_err(|error| error.into_build_error(None))?;
        let result = build.run().await;
        result.map_err(|error| error.into_build_error(Some(&build.source.info)))
    }
}

impl DockerfileFrontend {
    /// Builds instead of the frontend that the syntax line of the Dockerfile asks for, and says so.
    pub(crate) async fn build_instead(
        &self,
        bridge: Arc<dyn Bridge>,
        note: Warning,
    ) -> std::result::Result<BuildResult, BuildError> {
        let prepared = prepare(bridge).await;
        let build = prepared.map_err(|error| error.into_build_error(None))?;
        let Source { text, info, vertex } = &build.source;
        let directive = syntax_directive(text);
        let note = Warning {
            source: Some(info.clone()),
            ranges: directive.map_or_else(Vec::new, |line| line.lines.to_ranges()),
            ..note
        };
        build.client.bridge().warn(*vertex, note);
        let result = build.run().await;
        result.map_err(|error| error.into_build_error(Some(info)))
    }
}

/// A build whose Dockerfile is read.
struct Build {
    client: Client,
    options: Options,
    source: Source,
}

/// Names a platform of the result.
#[derive(Serialize)]
struct ExportPlatform {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Platform")]
    platform: Platform,
}

/// The metadata `refs.platforms`.
#[derive(Serialize)]
struct ExportPlatforms {
    #[serde(rename = "Platforms")]
    platforms: Vec<ExportPlatform>,
}

async fn prepare(bridge: Arc<dyn Bridge>) -> Result<Build> {
    let options = Options::parse(bridge.options())?;
    check_caps(
        bridge
            .options()
            .get("frontend.caps")
            .map_or("", String::as_str),
    )?;
    let client = Client::new(bridge).await?;
    let source = client.read_dockerfile().await?;
    Ok(Build {
        client,
        options,
        source,
    })
}

fn check_caps(asked: &str) -> std::result::Result<(), OptionsError> {
    let names = asked.split(',').filter(|cap| !cap.is_empty());
    for name in names.map(|cap| cap.split('+').next().unwrap_or(cap)) {
        if !CAPS.contains(&name) {
            return Err(OptionsError::Capability {
                cap: name.to_owned(),
            });
        }
    }
    Ok(())
}

impl Build {
    async fn run(&self) -> Result<BuildResult> {
        if let Some(result) = self.hand_over().await? {
            return Ok(result);
        }
        if let Some(request) = self.client.option("requestid") {
            return self.answer(request).await;
        }
        let mut result = BuildResult::default();
        let mut refs = BTreeMap::new();
        let mut exported = Vec::new();
        for (index, target) in self.targets().into_iter().enumerate() {
            let shown = target
                .clone()
                .unwrap_or_else(|| self.client.build_platform());
            let id = format_all(&shown);
            let converted = self.convert(target, index == 0).await?;
            let reference = self.solve(&id, converted, &mut result).await?;
            refs.insert(id.clone(), reference);
            exported.push(ExportPlatform {
                id,
                platform: shown,
            });
        }
        let platforms = encode(&ExportPlatforms {
            platforms: exported,
        })?;
        result
            .metadata
            .insert("refs.platforms".to_owned(), platforms);
        result.refs = if self.options.multi_platform {
            ResultRefs::Map(refs)
        } else {
            ResultRefs::Single(refs.into_values().next().flatten())
        };
        Ok(result)
    }

    /// Returns the platforms to build for, each once; `None` stands for the engine's own.
    fn targets(&self) -> Vec<Option<Platform>> {
        let mut targets: Vec<Option<Platform>> = Vec::new();
        for platform in &self.options.platforms {
            let target = Some(platform.clone());
            if targets.contains(&target) {
                self.warn_of_repeated(platform);
            } else {
                targets.push(target);
            }
        }
        if targets.is_empty() {
            targets.push(None);
        }
        targets
    }

    fn warn_of_repeated(&self, platform: &Platform) {
        let shown = quoted(&format_all(platform));
        let warning = Warning {
            short: format!("Duplicate platform result requested {shown}"),
            level: 1,
            ..Warning::default()
        };
        self.client.bridge().warn(self.source.vertex, warning);
    }

    /// Converts for one platform; warnings are for the first one only.
    async fn convert(&self, target: Option<Platform>, warns: bool) -> Result<Converted> {
        let linter = linter(&self.source.text, &self.options)?;
        let linter = if warns { linter } else { Linter::silent() };
        let converted = convert(self.job(target), &linter).await;
        self.warn(&linter);
        converted
    }

    /// Returns what is to be converted, for a platform.
    fn job(&self, platform: Option<Platform>) -> Job<'_> {
        Job {
            client: &self.client,
            options: &self.options,
            file: &self.source.info,
            text: &self.source.text,
            platform,
            all_stages: false,
        }
    }

    /// Hands on what was found, as far as that takes no more than [`MAX_SHOWN_BYTES`].
    fn warn(&self, linter: &Linter) {
        let most = MAX_SHOWN_BYTES / self.source.text.len().max(1);
        for finding in linter.findings().into_iter().take(most) {
            let warning = warning(&finding, &self.source);
            self.client.bridge().warn(self.source.vertex, warning);
        }
    }

    /// Solves the definition and notes what the result is.
    async fn solve(
        &self,
        id: &str,
        converted: Converted,
        result: &mut BuildResult,
    ) -> Result<Option<Reference>> {
        let key = |name: &str| {
            if self.options.multi_platform {
                format!("{name}/{id}")
            } else {
                name.to_owned()
            }
        };
        let options = SolveOptions {
            cache_imports: self.options.cache_from.clone(),
            ..SolveOptions::default()
        };
        let bridge = self.client.bridge();
        let reference = bridge.solve_with(converted.definition, options).await?;
        let metadata = &mut result.metadata;
        metadata.insert(key("containerimage.config"), encode(&converted.image)?);
        if let Some(base) = &converted.base_image {
            metadata.insert(
                key("containerimage.base.config"),
                encode::<ImageConfig>(base)?,
            );
        }
        if let Some(epoch) = converted.epoch {
            metadata.insert(key("source.date.epoch"), epoch.to_string().into_bytes());
        }
        Ok(reference)
    }
}

fn warning(finding: &Finding, source: &Source) -> Warning {
    Warning {
        short: finding.short(),
        detail: vec![finding.description.to_owned()],
        url: finding.url.to_owned(),
        source: Some(source.info.clone()),
        ranges: finding.lines.to_ranges(),
        level: 1,
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        FrontendError::EncodeConfig {
            reason: error.to_string(),
        }
        .into()
    })
}
