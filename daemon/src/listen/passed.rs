//! Sockets that systemd passed (rows NET-02, FLG-16): `LISTEN_PID`, `LISTEN_FDS` and
//! `LISTEN_FDNAMES` in the environment, descriptors from 3 on.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::AddressFamily;
use rustix::net::sockopt;

use super::Bound;
use super::ListenError;
use super::Listener;
use crate::sys;

/// What was passed and not used yet, by position.
pub(crate) struct Passed {
    sockets: Vec<Option<OwnedFd>>,
    names: Vec<String>,
}

impl Passed {
    /// Takes the sockets over, if they are meant for this process or for the one that made the user
    /// namespace it lives in. To be called before this process has opened anything.
    pub(crate) fn take() -> Self {
        let ours = [Some(rustix::process::getpid()), rustix::process::getppid()];
        let ours = ours.map(|pid| pid.map(|pid| pid.as_raw_nonzero().get()));
        let wanted: Option<i32> = number("LISTEN_PID");
        let count: u16 = number("LISTEN_FDS").unwrap_or(0);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        if count == 0 || wanted.is_none() || !ours.contains(&wanted) {
            return Self::of(Vec::new(), "");
        }
        Self::of(sys::take_passed(count), &names)
    }

    fn of(sockets: Vec<OwnedFd>, names: &str) -> Self {
        Self {
            sockets: sockets.into_iter().map(Some).collect(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// Returns the sockets that `name` means: all without a name, else those with this name, or the
    /// one with this number, counted from 3.
    pub(super) fn listeners(&mut self, name: &str) -> Result<Vec<Bound>, ListenError> {
        if self.sockets.is_empty() {
            return Err(ListenError::NonePassed);
        }
        let mut found = Vec::new();
        for index in 0..self.sockets.len() {
            if !self.is_meant(index, name) {
                continue;
            }
            if let Some(socket) = self.sockets[index].take() {
                found.push(listener(socket, name, index)?);
            }
        }
        if found.is_empty() {
            let name = name.to_owned();
            return Err(ListenError::NotPassed { name });
        }
        Ok(found)
    }

    fn is_meant(&self, index: usize, name: &str) -> bool {
        name.is_empty()
            || name == (index + 3).to_string()
            || self.names.get(index).is_some_and(|known| known == name)
    }
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

fn listener(socket: OwnedFd, name: &str, index: usize) -> Result<Bound, ListenError> {
    let bad = |reason: String| ListenError::BadPassed {
        name: name.to_owned(),
        number: index + 3,
        reason,
    };
    let refused = |error: std::io::Error| bad(error.to_string());
    let listens = sockopt::socket_acceptconn(&socket).map_err(|error| refused(error.into()))?;
    if !listens {
        return Err(bad("it does not listen".to_owned()));
    }
    let family = sockopt::socket_domain(&socket).map_err(|error| refused(error.into()))?;
    let listener = match family {
        AddressFamily::UNIX => {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true).map_err(refused)?;
            Listener::Unix(listener, None)
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true).map_err(refused)?;
            Listener::Tcp(listener)
        }
        other => return Err(bad(format!("its address family is {}", other.as_raw()))),
    };
    let address = format!("fd://{}", index + 3);
    Ok(Bound { address, listener })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_chosen_by_name_or_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("x")).expect("bound");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let file = std::fs::File::open("/dev/null").expect("opened");
        let sockets = vec![unix.into(), tcp.into(), file.into()];
        let mut passed = Passed::of(sockets, "first:second");
        let first = passed.listeners("first").expect("named");
        assert!(matches!(first[0].listener, Listener::Unix(_, None)));
        let second = passed.listeners("4").expect("numbered");
        assert!(matches!(second[0].listener, Listener::Tcp(_)));
        assert_eq!(second[0].address, "fd://4");
        assert!(passed.listeners("first").is_err(), "used up");
        let bad = passed.listeners("").err().expect("no socket").to_string();
        assert!(bad.contains("descriptor 5 is no listening socket"), "{bad}");
    }

    #[test]
    fn without_systemd_there_are_none() {
        let error = Passed::of(Vec::new(), "")
            .listeners("")
            .err()
            .expect("none");
        assert!(matches!(error, ListenError::NonePassed));
    }
}
