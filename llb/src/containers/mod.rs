//! Containers of frontends (rows EXE-01 to EXE-24).
//!
//! A container is what a step is, except that its mounts are made first and its processes come and
//! go. So everything about it is read, checked and prepared by what does that for steps: a request
//! becomes an exec op, and its entitlements are checked where those of steps are.
//!
//! ```text
//! Bridge::new_container   mounts: layers, secrets, sockets, cache directories; nothing runs
//! Container::start        the first process makes the sandbox, further ones join it
//! Container::release      kills and waits for all of them
//! ```
//! A container ends with the last clone of its [`Container`], with its build, and with its first
//! process.

mod files;
mod process;
mod request;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_executor::Root;
use lamina_executor::Sandbox;
use lamina_executor::StepMount;
use lamina_snapshotter::Tree;
use lamina_solver::OpContext;
use lamina_types::CancelOnDrop;
use lamina_types::CancelToken;
use lamina_types::Progress;
use tokio::sync::watch;

pub use process::ContainerProcess;
pub use process::ProcessRequest;
pub use request::ContainerMount;
pub use request::ContainerRequest;

use crate::BuildError;
use crate::Entitlements;
use crate::Services;
use crate::Snapshot;
use crate::model::ExecStep;
use crate::ops::BuildContext;
use crate::ops::CacheDirs;
use crate::ops::prepare_mounts;

/// A container. Clones share it.
#[derive(Clone)]
pub struct Container(Arc<Inner>);

struct Inner {
    services: Arc<Services>,
    context: OpContext<BuildContext>,
    entitlements: Entitlements,
    /// What was asked for; its processes are like steps with other programs.
    request: ContainerRequest,
    /// Of each mount what can be read from outside.
    trees: Vec<Option<Tree>>,
    /// Locked while the first process starts, so that others wait for it (row EXE-22).
    state: tokio::sync::Mutex<State>,
    mounts: Mutex<Mounts>,
    /// How many processes there are.
    running: watch::Sender<usize>,
    cancel: CancelToken,
    _end: CancelOnDrop,
}

/// What of the mounts is still here.
#[derive(Default)]
struct Mounts {
    /// Until the first process gets them.
    unused: Option<(Root, Vec<StepMount>)>,
    /// Held until nothing of the container runs.
    _cache_dirs: CacheDirs,
}

/// How far a container has come.
enum State {
    /// Nothing has run.
    New,
    /// Its first process was started.
    Started(Sandbox),
    /// Its first process could not be started, or it was released.
    Over,
}

/// The build that a container belongs to.
pub(crate) struct Owner {
    pub(crate) services: Arc<Services>,
    pub(crate) context: Arc<BuildContext>,
    pub(crate) entitlements: Entitlements,
    pub(crate) cancel: CancelToken,
}

impl Container {
    /// Makes the mounts; runs nothing. `inputs` are the trees that the mounts name.
    pub(crate) async fn new(
        owner: Owner,
        request: ContainerRequest,
        inputs: Vec<Snapshot>,
    ) -> Result<Self, BuildError> {
        let step = request.step()?;
        check(&owner.entitlements, &step)?;
        let cancel = owner.cancel.child();
        let end = cancel.cancel_on_drop();
        let builds = vec![owner.context];
        let context = OpContext::new(cancel.clone(), Progress::default(), builds);
        let step = Arc::new(step);
        let mounts = prepare_mounts(&step, &owner.services, inputs, &context).await;
        let mounts = mounts.map_err(BuildError::of_container)?;
        let trees = files::trees(&step, &mounts.root, &mounts.mounts);
        let mounts = Mounts {
            unused: Some((mounts.root, mounts.mounts)),
            _cache_dirs: mounts.cache_dirs,
        };
        Ok(Self(Arc::new(Inner {
            services: owner.services,
            context,
            entitlements: owner.entitlements,
            request,
            trees,
            state: tokio::sync::Mutex::new(State::New),
            mounts: Mutex::new(mounts),
            running: watch::Sender::new(0),
            cancel,
            _end: end,
        })))
    }

    /// Kills what runs in it, and returns when nothing is left of it (row EXE-07).
    pub async fn release(&self) {
        let inner = &self.0;
        inner.cancel.cancel();
        *inner.state.lock().await = State::Over;
        let mut running = inner.running.subscribe();
        // Its sender is ours, so this cannot fail.
        drop(running.wait_for(|count| *count == 0).await);
        let mounts = std::mem::take(&mut *inner.mounts());
        let work = move |_: &CancelToken| {
            drop(mounts);
            Ok::<_, BuildError>(())
        };
        // Not cancellable: it has to be done. What cannot be done is tried again at the next start.
        drop(inner.services.blocking.run(&CancelToken::new(), work).await);
    }
}

impl Inner {
    fn mounts(&self) -> MutexGuard<'_, Mounts> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The check of steps (rows EXE-04, EXE-11).
fn check(entitlements: &Entitlements, step: &ExecStep) -> Result<(), BuildError> {
    let checked = entitlements.check(step.network, step.security);
    checked.map_err(|error| BuildError::new(error.to_string()))
}
