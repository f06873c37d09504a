//! Sockets to listen on: made here, or passed by systemd (rows NET-01, NET-02, FLG-16).
//!
//! They are made before anything slow is begun, so that clients that dial early wait instead of
//! being refused. Connections queue in the kernel until the server takes them.

mod passed;
mod unix;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use lamina_types::PathError;
use rustix::io::Errno;

pub(crate) use passed::Passed;
pub(crate) use unix::SocketFile;
pub use unix::is_served;

use crate::settings::Address;
use crate::settings::SocketOwner;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListenError {
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("{path}: another daemon is listening here")]
    Busy { path: String },
    #[error("{path}: there is a file that is no socket; it stays as it is")]
    NotASocket { path: String },
    #[error("cannot listen on {address}: {error}")]
    Tcp { address: String, error: io::Error },
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    NonePassed,
    #[error("fd://{name}: systemd passed no such socket")]
    NotPassed { name: String },
    #[error("fd://{name}: descriptor {number} is no listening socket: {reason}")]
    BadPassed {
        name: String,
        number: usize,
        reason: String,
    },
}

/// A socket that clients can connect to already.
pub(crate) enum Listener {
    /// With the file that goes when the listener does; none if systemd owns it.
    Unix(UnixListener, Option<SocketFile>),
    Tcp(TcpListener),
}

/// A listener and what it is called.
pub(crate) struct Bound {
    pub(crate) address: String,
    pub(crate) listener: Listener,
}

/// Listens on all addresses, or on none.
pub(crate) fn bind_all(
    addresses: &[Address],
    owner: SocketOwner,
    mut passed: Passed,
) -> Result<Vec<Bound>, ListenError> {
    let mut bound = Vec::new();
    for address in addresses {
        match address {
            Address::Unix(path) => {
                let (listener, file) = unix::bind(path, owner)?;
                bound.push(Bound {
                    address: path.display().to_string(),
                    listener: Listener::Unix(listener, Some(file)),
                });
            }
            Address::Tcp(address) => {
                let listener = bind_tcp(address)?;
                // The port that the system chose, if it was to choose one.
                let local = listener.local_addr().map(|local| format!("tcp://{local}"));
                bound.push(Bound {
                    address: local.unwrap_or_else(|_| format!("tcp://{address}")),
                    listener: Listener::Tcp(listener),
                });
            }
            Address::Systemd(name) => bound.extend(passed.listeners(name)?),
        }
    }
    Ok(bound)
}

fn bind_tcp(address: &str) -> Result<TcpListener, ListenError> {
    let bind = |address: &str| TcpListener::bind(address);
    let bound = match address.strip_prefix(':') {
        Some(port) => bind_everywhere(port, bind),
        None => bind(address),
    };
    bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| ListenError::Tcp {
            address: address.to_owned(),
            error,
        })
}

/// Binds a port of all addresses, which are those of IPv4 where there is no IPv6.
fn bind_everywhere<T>(port: &str, bind: impl Fn(&str) -> io::Result<T>) -> io::Result<T> {
    match bind(&format!("[::]:{port}")) {
        Err(error) if lacks_family(&error) => bind(&format!("0.0.0.0:{port}")),
        bound => bound,
    }
}

fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_bound_with_and_without_ipv6() {
        let without = |errno: Errno| {
            bind_everywhere("80", move |address| match address.starts_with('[') {
                true => Err(errno.into()),
                false => Ok(address.to_owned()),
            })
        };
        let both = bind_everywhere("80", |address| Ok(address.to_owned()));
        assert_eq!(both.expect("bound"), "[::]:80");
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(without(errno).expect("bound"), "0.0.0.0:80");
        }
        let taken = without(Errno::ADDRINUSE).expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_alone_means_every_address() {
        let listener = bind_tcp(":0").expect("bound");
        let local = listener.local_addr().expect("an address");
        assert!(local.ip().is_unspecified(), "{local}");
    }
}
