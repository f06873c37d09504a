//! What is wished for (rows CFG-09, FLG-12, FLG-13).

use std::path::PathBuf;
use std::str::FromStr;

use crate::Subnet;

/// What steps get that ask for no network in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// CNI if its configuration exists, otherwise the host's network. For an ordinary user instead of
    /// that: a bridge behind pasta or slirp4netns where one of them works.
    #[default]
    Auto,
    /// The host's network.
    Host,
    /// A bridge of our own.
    Bridge,
    /// What CNI plugins make.
    Cni,
}

/// No mode has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid network mode: {0:?}")]
pub struct UnknownMode(pub String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "host" => Ok(Self::Host),
            "bridge" => Ok(Self::Bridge),
            "cni" => Ok(Self::Cni),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// How the networks of steps are set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Which kind.
    pub mode: Mode,
    /// Whether [`Mode::Auto`] is [`Mode::Bridge`].
    pub auto_is_bridge: bool,
    /// Name of the bridge; `None`: `buildkit0`, or the next number if another process has that.
    pub bridge_name: Option<String>,
    /// Its addresses; `None`: `10.10.0.0/16`, or the next `/16` if those are taken.
    pub bridge_subnet: Option<Subnet>,
    /// How the plugins are called.
    pub cni: CniOptions,
    /// How many namespaces are kept ready from the start; `None`: on a bridge a few once steps run,
    /// of plugins none.
    pub pool_size: Option<usize>,
    /// A directory of ours for what CNI plugins have to undo after this process was killed. Of this
    /// process alone.
    pub state_dir: PathBuf,
    /// Directories in which pasta and slirp4netns are looked for.
    pub search_path: Vec<PathBuf>,
}

/// How CNI plugins are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniOptions {
    /// A `.conflist`, or the configuration of a single plugin.
    pub config: PathBuf,
    /// Where the plugins are.
    pub plugins: PathBuf,
}

impl Default for CniOptions {
    fn default() -> Self {
        Self {
            config: PathBuf::from("/etc/buildkit/cni.json"),
            plugins: PathBuf::from("/opt/cni/bin"),
        }
    }
}
