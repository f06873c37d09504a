//! Where to listen (rows NET-01, NET-02, FLG-03).

use std::fmt;
use std::path::PathBuf;

use super::SettingsError;

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `HOST:PORT`; an empty host means all of the machine's addresses.
    Tcp(String),
    /// The sockets that systemd passed: all, or the one with this number or name.
    Systemd(String),
}

impl Address {
    /// Reads `unix://PATH`, `tcp://HOST:PORT`, `fd://` or `fd://NAME`. A path without a scheme is a
    /// unix socket.
    pub(super) fn parse(text: &str) -> Result<Self, SettingsError> {
        let refuse = |reason| SettingsError::Address {
            address: text.to_owned(),
            reason,
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("unix", text));
        match scheme {
            "unix" if rest.is_empty() => Err(refuse("a path is required")),
            "unix" => {
                let path = std::path::absolute(rest).map_err(|_| refuse("the path is no path"))?;
                Ok(Self::Unix(path))
            }
            "tcp" if !rest.contains(':') => Err(refuse("expected tcp://HOST:PORT")),
            "tcp" => Ok(Self::Tcp(rest.to_owned())),
            "fd" => Ok(Self::Systemd(rest.to_owned())),
            "npipe" => Err(refuse("named pipes are for Windows")),
            _ => Err(refuse("expected unix://PATH, tcp://HOST:PORT or fd://")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Systemd(name) => write!(f, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_address() {
        for (text, address) in [
            ("unix:///run/x.sock", Address::Unix("/run/x.sock".into())),
            ("/run/x.sock", Address::Unix("/run/x.sock".into())),
            (
                "tcp://127.0.0.1:1234",
                Address::Tcp("127.0.0.1:1234".to_owned()),
            ),
            ("tcp://[::1]:1234", Address::Tcp("[::1]:1234".to_owned())),
            ("tcp://:1234", Address::Tcp(":1234".to_owned())),
            ("fd://", Address::Systemd(String::new())),
            ("fd://3", Address::Systemd("3".to_owned())),
        ] {
            assert_eq!(Address::parse(text).expect(text), address);
        }
        for (text, part) in [
            ("", "a path is required"),
            ("unix://", "a path is required"),
            ("tcp://host", "expected tcp://HOST:PORT"),
            ("ssh://host", "expected unix://PATH"),
            ("npipe:////./pipe/x", "named pipes"),
        ] {
            let message = Address::parse(text).expect_err(text).to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
