//! The programs that connect a namespace, and how they are called.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Where pasta is told to answer questions for names. Link-local, so it is nobody else's.
const PASTA_FORWARDER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Where slirp4netns answers them.
const SLIRP_FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The programs give up the powers by which they could open descriptors of ours, and close all but the
/// standard ones that they were given.
const NAMESPACE: &str = "/proc/self/fd/0";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pasta,
    Slirp,
}

/// A program that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    kind: Kind,
    path: PathBuf,
}

impl Program {
    /// Finds the better one of those in `directories`.
    pub(crate) fn find(directories: &[PathBuf]) -> Option<Self> {
        [Kind::Pasta, Kind::Slirp].into_iter().find_map(|kind| {
            let places = directories.iter().map(|dir| dir.join(kind.name()));
            let path = places.into_iter().find(|path| path.is_file())?;
            Some(Self { kind, path })
        })
    }

    /// Returns the address of its name server.
    pub(super) fn forwarder(&self) -> Ipv4Addr {
        match self.kind {
            Kind::Pasta => PASTA_FORWARDER,
            Kind::Slirp => SLIRP_FORWARDER,
        }
    }

    /// Returns the call that connects the namespace which is its standard input, and then serves it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir("/");
        match self.kind {
            Kind::Pasta => pasta(&mut command),
            Kind::Slirp => slirp(&mut command),
        };
        command
    }
}

/// Nothing of the machine is to be reached but by its addresses, and nothing reaches in.
fn pasta(command: &mut Command) -> &mut Command {
    command
        .args(["--foreground", "--quiet", "--config-net", "--no-map-gw"])
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .args(["--dns-forward", &PASTA_FORWARDER.to_string()])
        .args(["--netns", NAMESPACE])
}

fn slirp(command: &mut Command) -> &mut Command {
    command
        .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
        .args(["--enable-sandbox", "--enable-seccomp", "--netns-type=path"])
        .args([NAMESPACE, "tap0"])
}

impl Kind {
    fn name(self) -> &'static Path {
        Path::new(match self {
            Self::Pasta => "pasta",
            Self::Slirp => "slirp4netns",
        })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name().display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasta_is_preferred() {
        let dir = tempfile::tempdir().expect("a directory");
        let directories = [dir.path().join("none"), dir.path().to_owned()];
        let found = |expected: Option<&str>| {
            let found = Program::find(&directories).map(|program| program.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        found(None);
        std::fs::write(dir.path().join("slirp4netns"), "").expect("written");
        found(Some("slirp4netns"));
        std::fs::write(dir.path().join("pasta"), "").expect("written");
        found(Some("pasta"));
    }
}
