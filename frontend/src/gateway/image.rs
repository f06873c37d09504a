//! Where the program of a frontend comes from (rows FGW-01, FGW-05).

use lamina_content::ImageConfig;
use lamina_llb::Bridge;
use lamina_llb::ResolveImageOptions;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;

use super::stand_in;
use crate::client::alone;
use crate::context::NamedContext;
use crate::context::input_config;
use crate::context::parse_config;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::LocalSource;
use crate::graph::image;
use crate::graph::local;
use crate::graph::oci_layout;
use crate::reference::ImageName;

/// Says that an image is kept for frontends (row CTL-09).
const RECORD_TYPE: (&str, &str) = ("image.recordtype", "frontend");

/// The program of a frontend: a tree, and what its image says of it.
pub(super) struct Program {
    pub(super) definition: pb::Definition,
    pub(super) config: ImageConfig,
    /// What the name of the image stood for.
    pub(super) digest: Option<Digest>,
}

/// Says whether a named context stands for `source`.
pub(super) fn is_replaced(bridge: &dyn Bridge, source: &str) -> bool {
    matches!(replacement(bridge, source), Ok(Some(_)))
}

/// Returns the context that stands for `source`, if the client gives one.
pub(super) fn replacement(
    bridge: &dyn Bridge,
    source: &str,
) -> std::result::Result<Option<NamedContext>, FrontendError> {
    NamedContext::find(bridge.options(), source, &platform(bridge))
}

fn platform(bridge: &dyn Bridge) -> Platform {
    let platforms = bridge.worker_platforms();
    platforms.into_iter().next().unwrap_or_else(Platform::host)
}

impl Program {
    /// Finds the program that `source` names.
    ///
    /// # Errors
    /// If it is no name of an image, or the image cannot be looked up.
    pub(super) async fn load(bridge: &dyn Bridge, source: &str) -> Result<Self> {
        match replacement(bridge, source)? {
            Some(context) => Self::of_context(bridge, &context).await,
            None => {
                let name = ImageName::parse(source)?.or_latest().to_string();
                let found = Self::of_image(bridge, &name, ResolveImageOptions::default());
                if !stand_in::is_there(bridge, source) {
                    return found.await;
                }
                let found = tokio::time::timeout(stand_in::LOOK_UP_LIMIT, found).await;
                found.unwrap_or_else(|_| Err(stand_in::no_answer(&name).into()))
            }
        }
    }

    /// Looks an image up and pins it.
    async fn of_image(
        bridge: &dyn Bridge,
        name: &str,
        options: ResolveImageOptions,
    ) -> Result<Self> {
        let resolved = bridge.resolve_image_config(name, options).await?;
        let pinned = ImageName::parse(&resolved.reference)?;
        let pinned = pinned.with_digest(&resolved.digest.to_string()).to_string();
        let vertex = image(&pinned, None, "default").with_attr(RECORD_TYPE.0, RECORD_TYPE.1);
        Ok(Self {
            definition: alone(vertex),
            config: parse_config(&resolved.config)?,
            digest: Some(resolved.digest),
        })
    }

    async fn of_context(bridge: &dyn Bridge, context: &NamedContext) -> Result<Self> {
        let (kind, value) = context.split()?;
        let value = value.trim_start_matches("//");
        let name = &context.name;
        match kind {
            "docker-image" => {
                let options = ResolveImageOptions {
                    log_name: format!("[context {name}] load metadata for {value}"),
                    ..ResolveImageOptions::default()
                };
                let full = ImageName::parse(value)?.or_latest().to_string();
                Self::of_image(bridge, &full, options).await
            }
            "oci-layout" => Self::of_layout(bridge, context, value).await,
            "local" => Ok(Self::of_directory(bridge, value)),
            "input" => Self::of_input(bridge, name, value),
            kind => Err(FrontendError::ContextKind {
                kind: kind.to_owned(),
                name: name.clone(),
            }
            .into()),
        }
    }

    async fn of_layout(bridge: &dyn Bridge, context: &NamedContext, value: &str) -> Result<Self> {
        let layout = context.layout(value)?;
        let options = ResolveImageOptions {
            log_name: format!(
                "[context {}] load metadata for {}",
                context.name, layout.shown
            ),
            oci_layout: true,
            ..ResolveImageOptions::default()
        };
        let resolved = bridge
            .resolve_image_config(&layout.asked(), options)
            .await?;
        let session = bridge.session_id();
        let vertex = oci_layout(&layout.shown, session, layout.store, None);
        Ok(Self {
            definition: alone(vertex),
            config: parse_config(&resolved.config)?,
            digest: Some(resolved.digest),
        })
    }

    /// A tree has no config: the program is where one without entrypoint is.
    fn of_directory(bridge: &dyn Bridge, name: &str) -> Self {
        let session = bridge.options().get(&format!("local-sessionid:{name}"));
        let source = LocalSource {
            name: name.to_owned(),
            session: session
                .map_or(bridge.session_id(), String::as_str)
                .to_owned(),
            ..LocalSource::default()
        };
        Self {
            definition: alone(local(&source)),
            config: ImageConfig::default_for(&platform(bridge)),
            digest: None,
        }
    }

    fn of_input(bridge: &dyn Bridge, name: &str, input: &str) -> Result<Self> {
        let missing = || FrontendError::Input {
            input: input.to_owned(),
            name: name.to_owned(),
        };
        let definition = bridge.inputs().get(input).cloned().ok_or_else(missing)?;
        let metadata = bridge.options().get(&format!("input-metadata:{input}"));
        let config = match metadata {
            Some(text) => input_config(text)?,
            None => None,
        };
        Ok(Self {
            definition,
            config: config.unwrap_or_else(|| ImageConfig::default_for(&platform(bridge))),
            digest: None,
        })
    }
}
