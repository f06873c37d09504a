//! The runtime child and the socket to it.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::IoContext as _;

use super::sealed::Sealed;
use crate::ExecError;
use crate::channel;
use crate::error::Doing;
use crate::wire::Order;

/// The current runtime child; replaced if it has died.
pub(crate) struct Link {
    program: Program,
    runtime: Mutex<Runtime>,
}

/// What the runtime is started from.
struct Program {
    /// As processes are shown it.
    name: PathBuf,
    sealed: Sealed,
}

struct Runtime {
    /// `None` while being dropped.
    control: Option<OwnedFd>,
    child: Child,
}

impl Link {
    /// Starts the runtime; `empty` is a folder with nothing in it.
    pub(super) fn start(program: PathBuf, empty: &Path) -> Result<Self, ExecError> {
        let sealed = Sealed::open(&program, empty).at(program.display())?;
        let program = Program {
            name: program,
            sealed,
        };
        let runtime = Mutex::new(Runtime::start(&program)?);
        Ok(Self { program, runtime })
    }

    /// Gives the runtime its end of a step's socket, and what the order needs beside.
    pub(crate) fn hand_over(
        &self,
        order: Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ExecError> {
        let mut runtime = self.lock();
        if runtime.hand_over(order, descriptors).is_ok() {
            return Ok(());
        }
        tracing::warn!("the runtime process has gone; starting another");
        *runtime = Runtime::start(&self.program)?;
        let handed = runtime.hand_over(order, descriptors);
        handed.doing("reach the runtime process")
    }

    /// Says why the runtime is gone, as far as it told.
    pub(crate) fn lost(&self) -> ExecError {
        let runtime = self.lock();
        let told = runtime.control.as_ref().and_then(|control| {
            rustix::io::ioctl_fionbio(control, true).ok()?;
            let told = channel::receive(control).ok().flatten();
            rustix::io::ioctl_fionbio(control, false).ok()?;
            told
        });
        let text = told.map(|(text, _)| format!(": {}", String::from_utf8_lossy(&text)));
        ExecError::RuntimeLost(text.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime {
    fn start(program: &Program) -> Result<Self, ExecError> {
        let (control, theirs) = channel::pair().doing("make a socket")?;
        let child = Command::new(program.sealed.path())
            .arg0(&program.name)
            .arg("runtime")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .doing("start the runtime process")?;
        let control = Some(control);
        Ok(Self { control, child })
    }

    fn hand_over(&self, order: Order, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let control = self
            .control
            .as_ref()
            .ok_or(std::io::ErrorKind::NotConnected)?;
        channel::send(control, order.word(), descriptors)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // The runtime ends, and with it every step, when its socket closes.
        drop(self.control.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for the runtime process");
        }
    }
}
