//! The decision which networks steps get, and the steps' way to them.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::sync::OnceCell;
use tokio::sync::oneshot;

use crate::Mode;
use crate::NetworkError;
use crate::NetworkOptions;
use crate::bridge::Bridge;
use crate::cni::Cni;
use crate::error::Doing;
use crate::namespace;
use crate::pool::Lease;
use crate::pool::Pool;
use crate::pool::Ready;
use crate::uplink::Behind;
use crate::uplink::Program;
use crate::uplink::Uplink;

/// Namespaces that are ready on a bridge while steps run: as many as start at once on most machines.
/// One is made in a few milliseconds, so more would only cost memory.
const USUAL_POOL: usize = 4;

/// The networks of the steps of one engine. Dropping it takes them down.
pub struct Networks {
    kind: Kind,
    /// In a few words.
    description: String,
    name_server: Option<IpAddr>,
}

enum Kind {
    /// The host's, and what to say about that.
    Host { notice: Option<String> },
    /// Of their own.
    Own(Pool),
    /// Of their own, if that works, from the first step on.
    OwnIfPossible(Box<Later>),
}

/// What is started when the first step comes: many builds run none.
struct Later {
    options: NetworkOptions,
    program: Program,
    /// The pool, or `None` if there is none.
    started: OnceCell<Option<Pool>>,
    /// Why there is none.
    failure: OnceLock<String>,
    /// Whether a step has been told.
    told: AtomicBool,
}

/// The network of one step. Keep it as long as the step lives.
#[must_use = "the network is taken down when this is dropped"]
pub struct StepNetwork {
    lease: Option<Lease>,
    notice: Option<String>,
}

impl StepNetwork {
    /// Returns the namespace that the step is to enter; none on the host's network.
    #[must_use]
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.lease.as_ref().map(Lease::as_fd)
    }

    /// Returns what the step's user has to be told: that it is on the host's network although it
    /// should not have been. Only one step is told.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }
}

impl Default for Networks {
    /// The host's network, for everybody.
    fn default() -> Self {
        Self::host("as asked", None)
    }
}

impl Networks {
    /// Makes what the options ask for, in the network namespace of this thread. Blocks: a bridge takes
    /// milliseconds, a CNI network what its plugins take.
    ///
    /// # Errors
    /// If what was asked for by name does not work. [`Mode::Auto`] then means the host's network, which
    /// [`Networks::notice`] tells.
    pub fn start(options: NetworkOptions) -> Result<Self, NetworkError> {
        match options.mode {
            Mode::Host => Ok(Self::default()),
            Mode::Bridge => Self::own(bridge(options, own_uplink)?),
            Mode::Cni => Self::own(cni(options)?),
            Mode::Auto if options.auto_is_bridge => Self::own(bridge(options, own_uplink)?),
            Mode::Auto if options.cni.config.exists() => Self::own(cni(options)?),
            Mode::Auto => Self::usual(options),
        }
    }

    /// What there is if nobody asks for anything.
    fn usual(options: NetworkOptions) -> Result<Self, NetworkError> {
        if may_wire().doing(|| "look at the network namespace")? {
            return Ok(Self::host("nothing else is configured", None));
        }
        let Some(program) = Program::find(&options.search_path) else {
            let reason = NetworkError::NoUplink.to_string();
            return Ok(Self::host(&reason, Some(notice(&reason))));
        };
        Ok(Self {
            description: format!("a bridge behind {program}"),
            name_server: Some(program.name_server()),
            kind: Kind::OwnIfPossible(Box::new(Later {
                options,
                program,
                started: OnceCell::new(),
                failure: OnceLock::new(),
                told: AtomicBool::new(false),
            })),
        })
    }

    fn host(reason: &str, notice: Option<String>) -> Self {
        Self {
            kind: Kind::Host { notice },
            description: format!("the host's: {reason}"),
            name_server: None,
        }
    }

    fn own((pool, name_server): (Pool, Option<IpAddr>)) -> Result<Self, NetworkError> {
        Ok(Self {
            description: pool.description().to_owned(),
            name_server,
            kind: Kind::Own(pool),
        })
    }

    /// Returns a network for a step, which plugins may tell its host name; empty means none in
    /// particular.
    ///
    /// # Errors
    /// If none can be made; the next may be.
    pub async fn join(&self, hostname: &str) -> Result<StepNetwork, NetworkError> {
        let (lease, notice) = match &self.kind {
            Kind::Host { .. } => (None, None),
            Kind::Own(pool) => (Some(pool.take(hostname).await?), None),
            Kind::OwnIfPossible(later) => later.take(hostname).await?,
        };
        Ok(StepNetwork { lease, notice })
    }

    /// Returns the word by which clients of BuildKit know the kind: `host`, or `cni` for namespaces of
    /// steps' own, however they are made (row CTL-04).
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.notice() {
            None if !matches!(self.kind, Kind::Host { .. }) => "cni",
            _ => "host",
        }
    }

    /// Says in a few words what steps get.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Says why steps are on the host's network, if they should not have to be.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        match &self.kind {
            Kind::Host { notice } => notice.clone(),
            Kind::Own(_) => None,
            Kind::OwnIfPossible(later) => later.failure.get().cloned(),
        }
    }

    /// Returns a name server that steps reach although the machine's own is on a loopback address.
    #[must_use]
    pub fn name_server(&self) -> Option<IpAddr> {
        self.name_server
    }
}

impl Later {
    async fn take(&self, hostname: &str) -> Result<(Option<Lease>, Option<String>), NetworkError> {
        let start = async || match self.start().await {
            Ok(pool) => Some(pool),
            Err(error) => {
                self.fail(&error);
                None
            }
        };
        if let Some(pool) = self.started.get_or_init(start).await {
            return Ok((Some(pool.take(hostname).await?), None));
        }
        let told = self.told.swap(true, Ordering::Relaxed);
        let notice = self.failure.get().filter(|_| !told);
        Ok((None, notice.cloned()))
    }

    /// Starts the pool on a thread, for it takes as long as another program takes to start.
    async fn start(&self) -> Result<Pool, NetworkError> {
        let (tell, told) = oneshot::channel();
        let (options, program) = (self.options.clone(), self.program.clone());
        let start = move || {
            let started = bridge(options, |_| Ok(Some(program)));
            // Whoever waited may have gone; then the pool goes too.
            drop(tell.send(started.map(|(pool, _)| pool)));
        };
        let thread = thread::Builder::new().name("lamina-uplink".to_owned());
        thread.spawn(start).doing(|| "start a thread")?;
        told.await.unwrap_or(Err(NetworkError::Stopped))
    }

    fn fail(&self, error: &NetworkError) {
        let text = self.failure.get_or_init(|| notice(&error.to_string()));
        tracing::warn!("{text}");
    }
}

fn notice(reason: &str) -> String {
    format!("steps use the host's network: {reason}")
}

/// Starts a bridge, in an outer namespace that `find` says how to connect.
fn bridge(
    options: NetworkOptions,
    find: impl FnOnce(&NetworkOptions) -> Result<Option<Program>, NetworkError>,
) -> Result<(Pool, Option<IpAddr>), NetworkError> {
    Bridge::check(&options)?;
    let ready = match options.pool_size {
        Some(size) => Ready::Always(size),
        None => Ready::InUse(USUAL_POOL),
    };
    let program = find(&options)?;
    let name_server = program.as_ref().map(Program::name_server);
    let begin = move || {
        let uplink = program.map(Uplink::start).transpose()?;
        let wiring = Bridge::start(&options)?;
        Ok(Behind { wiring, uplink })
    };
    Ok((Pool::start(ready, begin)?, name_server))
}

/// Starts what plugins make.
fn cni(options: NetworkOptions) -> Result<(Pool, Option<IpAddr>), NetworkError> {
    let ready = Ready::Always(options.pool_size.unwrap_or(0));
    let program = own_uplink(&options)?;
    let name_server = program.as_ref().map(Program::name_server);
    let begin = move || {
        let uplink = program.map(Uplink::start).transpose()?;
        let wiring = Cni::start(&options.cni, &options.state_dir)?;
        Ok(Behind { wiring, uplink })
    };
    Ok((Pool::start(ready, begin)?, name_server))
}

/// Finds what connects an outer namespace, if it has to be one of our own.
fn own_uplink(options: &NetworkOptions) -> Result<Option<Program>, NetworkError> {
    if may_wire().doing(|| "look at the network namespace")? {
        return Ok(None);
    }
    match Program::find(&options.search_path) {
        Some(program) => Ok(Some(program)),
        None => Err(NetworkError::NoUplink),
    }
}

/// Says whether this process may make devices where it is: whoever may enter the namespace may.
fn may_wire() -> io::Result<bool> {
    match namespace::enter(namespace::current()?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}
