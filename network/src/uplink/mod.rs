//! A way out for an ordinary user, who may not connect a namespace to the machine's network.
//!
//! ```text
//! the machine's network            the outer namespace, ours
//! pasta or slirp4netns ◄─ tap ──── default route
//!                                  bridge ── the namespaces of steps
//! ```
//! The program reads packets from a device in the namespace and does what they ask for with sockets of
//! its own. There is one for all steps: it costs a process and some milliseconds to start, and the
//! bridge behind it keeps steps apart as it does for root. The machine's loopback addresses are not
//! reached through it.

mod program;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::NetworkError;
use crate::error::Doing;
use crate::namespace;
use crate::netlink::Netlink;
use crate::output;
use crate::pool::Wired;
use crate::pool::Wiring;
use crate::routes;
use crate::sys;
pub(crate) use program::Program;

/// How long the program may take to connect the namespace.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked after whether the program has ended instead.
const INTERVAL: Duration = Duration::from_millis(100);

/// The outer namespace, and the program that connects it. Dropping it ends the program.
pub(crate) struct Uplink {
    program: Program,
    child: Child,
    errors: File,
    _namespace: OwnedFd,
}

impl Uplink {
    /// Starts `program` for a new namespace, and enters that with this thread. The program ends when
    /// the thread does.
    pub(crate) fn start(program: Program) -> Result<Self, NetworkError> {
        let namespace = namespace::make().doing(|| "make a network namespace")?;
        let errors = output::file().doing(|| "make a file")?;
        let inherited = namespace.fd.try_clone().doing(|| "keep a network open")?;
        let mut command = program.command();
        command
            .stdin(inherited)
            .stdout(Stdio::null())
            .stderr(errors.try_clone().doing(|| "make a file")?);
        let child = sys::die_with_this_thread(&mut command).spawn();
        let mut uplink = Self {
            child: child.doing(|| format!("start {program}"))?,
            program,
            errors,
            _namespace: namespace.fd,
        };
        namespace::enter(&uplink._namespace).doing(|| "enter a network namespace")?;
        uplink.wait()?;
        Ok(uplink)
    }

    /// Waits for the way out.
    fn wait(&mut self) -> Result<(), NetworkError> {
        let changes = Netlink::route_changes().doing(|| "open a netlink socket")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let routes = routes::read().doing(|| "read the routes")?;
            if !routes::uplinks(&routes).is_empty() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().doing(|| "wait for a program")? {
                let said = output::text(&mut self.errors).unwrap_or_default();
                return Err(self.failed(format!("{status}: {}", said.trim())));
            }
            if Instant::now() > deadline {
                return Err(self.failed("gave the namespace no default route".to_owned()));
            }
            changes.wait(INTERVAL).doing(|| "wait for routes")?;
        }
    }

    fn failed(&self, reason: String) -> NetworkError {
        NetworkError::Uplink {
            program: self.program.to_string(),
            reason,
        }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Namespaces wired inside the outer one. Those go first, then the way out.
pub(crate) struct Behind<W> {
    pub(crate) wiring: W,
    pub(crate) uplink: Option<Uplink>,
}

impl<W: Wiring> Wiring for Behind<W> {
    fn make(&mut self, hostname: &str) -> Result<Wired, NetworkError> {
        self.wiring.make(hostname)
    }

    fn unmake(&mut self, wired: &Wired) -> Result<(), NetworkError> {
        self.wiring.unmake(wired)
    }

    fn tells_hostname(&self) -> bool {
        self.wiring.tells_hostname()
    }

    fn describe(&self) -> String {
        let inner = self.wiring.describe();
        match &self.uplink {
            Some(uplink) => format!("{inner}, behind {}", uplink.program),
            None => inner,
        }
    }
}

impl Program {
    /// Returns the address at which the program passes questions on to the machine's name servers.
    pub(crate) fn name_server(&self) -> IpAddr {
        self.forwarder().into()
    }
}
