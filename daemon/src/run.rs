//! The life of the daemon, from its flags to its exit code.
//!
//! 1. Settings, then the log.
//! 2. The runtime, signals, and sockets: from here on clients can dial; what they ask waits.
//! 3. The services, and the engine behind them; then `READY=1`.
//! 4. A signal: no new connections, `STOPPING=1`. Builds are cancelled and their clients get that as
//!    an answer; then connections end, and what was made is on disk.
//!
//! Step 4 is over within [`CANCEL_PATIENCE`], [`PATIENCE`] and a little; systemd and test harnesses
//! kill after 20 seconds.

use std::process::ExitCode;
use std::time::Duration;

use lamina_engine::Engine;
use lamina_executor::userns;
use lamina_grpc::EngineSlot;
use lamina_grpc::ServerOptions;
use lamina_session::SessionManager;
use lamina_types::CancelToken;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::engine;
use crate::error::DaemonError;
use crate::flags::DaemonArgs;
use crate::listen;
use crate::listen::Bound;
use crate::listen::Passed;
use crate::log;
use crate::log::LogFormat;
use crate::log::LogLevel;
use crate::notify;
use crate::server::Server;
use crate::settings::Settings;
use crate::signals;
use crate::sys;
use crate::version;

/// Threads that serve; they wait most of the time, and work is done elsewhere.
const MAX_SERVING_THREADS: usize = 4;

/// Heaps of the C library, for the same reason.
const MAX_HEAPS: i32 = 4;

/// How long another process may keep the state folder.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How long cancelled builds may take to notice.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// What clients get at the end, to take answers that are under way.
const GRACE: Duration = Duration::from_millis(500);

/// How long steps may take to end, and results to get on disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop; the caller has entered the user namespace. Called with
/// one thread.
#[must_use]
pub fn run(args: DaemonArgs) -> ExitCode {
    match live(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Mistakes in flags come before the log is set up.
            log::init(LogFormat::Text, LogLevel::Info);
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn live(args: DaemonArgs) -> Result<(), DaemonError> {
    let settings = Settings::load(args, &userns::mapping())?;
    log::init(settings.log_format, settings.log_level);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    sys::limit_heaps(MAX_HEAPS);
    let passed = Passed::take();
    let runtime = runtime()?;
    let end = runtime.block_on(async {
        // Before there is a socket that would have to be removed.
        let stop = signals::stop_on_signal()?;
        let bound = listen::bind_all(&settings.addresses, settings.socket_owner, passed)?;
        serve(settings, bound, stop).await
    });
    // Whatever did not end in time must not hold up the end.
    runtime.shutdown_background();
    end
}

fn runtime() -> Result<Runtime, DaemonError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.clamp(1, MAX_SERVING_THREADS))
        .thread_name("lamina")
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)
}

/// Serves until a signal comes or the engine cannot be opened.
async fn serve(
    settings: Settings,
    bound: Vec<Bound>,
    stop: CancelToken,
) -> Result<(), DaemonError> {
    let slot = EngineSlot::default();
    let sessions = SessionManager::default();
    let routes = lamina_grpc::routes(ServerOptions {
        engine: slot.clone(),
        sessions: sessions.clone(),
        version: version::version(),
    });
    let server = Server::start(&routes, bound, settings.tls.as_ref())?;
    drop(routes);
    let root = settings.root.display().to_string();
    let opened = tokio::select! {
        opened = timeout(LOCK_PATIENCE, engine::open(settings, sessions)) => opened,
        () = stop.cancelled() => {
            // Calls wait for the engine.
            slot.fill(Err("the daemon is stopping".to_owned()));
            return shut_down(server, None).await;
        }
    };
    let opened = match opened {
        Ok(opened) => opened.map_err(|error| DaemonError::Engine(Box::new(error))),
        Err(_) => Err(DaemonError::Locked { root }),
    };
    match opened {
        Ok(engine) => {
            slot.fill(Ok(engine.clone()));
            drop(slot);
            live_on(engine, server, &stop).await
        }
        Err(error) => {
            slot.fill(Err(error.to_string()));
            shut_down(server, None).await?;
            Err(error)
        }
    }
}

async fn live_on(engine: Engine, server: Server, stop: &CancelToken) -> Result<(), DaemonError> {
    sys::trim_heap();
    notify::ready();
    tokio::select! {
        () = stop.cancelled() => {}
        () = give_back_memory(&engine) => {}
    }
    tracing::info!("stopping server");
    shut_down(server, Some(engine)).await
}

/// Returns what builds have freed to the system, which the C library alone would keep.
async fn give_back_memory(engine: &Engine) {
    loop {
        engine.quiet().await;
        sys::trim_heap();
    }
}

/// Ends builds, lets clients take their answers, then ends connections.
async fn shut_down(mut server: Server, engine: Option<Engine>) -> Result<(), DaemonError> {
    notify::stopping();
    server.close();
    if let Some(engine) = &engine
        && timeout(CANCEL_PATIENCE, engine.stop()).await.is_err()
    {
        tracing::warn!("some builds did not end in time");
    }
    if timeout(GRACE, server.closed()).await.is_err() {
        server.cut();
        if timeout(GRACE, server.closed()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
    if let Some(engine) = engine
        && timeout(PATIENCE, engine.settle()).await.is_err()
    {
        tracing::warn!("some steps did not end in time; they are killed now");
    }
    Ok(())
}
