//! `--ssh`: agents that steps may ask (row CLI-08).

use std::path::PathBuf;

/// The agent of the user's own shell.
const AGENT: &str = "SSH_AUTH_SOCK";

/// Says why an agent could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SshError {
    #[error("--ssh {text:?}: there is no agent: {AGENT} is not set")]
    NoAgent { text: String },
    #[error("--ssh {text:?}: {path}: no socket; keys are offered by an agent: ssh-add {path}")]
    NotASocket { text: String, path: String },
    #[error("--ssh {text:?}: one socket per name; give several names for several sockets")]
    Several { text: String },
}

/// Reads `default`, `NAME`, `NAME=SOCKET` and `id=NAME,src=SOCKET`; without a socket it is that of
/// the user's agent.
pub(crate) fn parse(text: &str) -> Result<(String, PathBuf), SshError> {
    let (name, sockets) = split(text);
    let socket = match sockets.as_slice() {
        [] => std::env::var_os(AGENT)
            .filter(|agent| !agent.is_empty())
            .map(PathBuf::from)
            .ok_or_else(|| SshError::NoAgent {
                text: text.to_owned(),
            })?,
        [socket] => PathBuf::from(socket),
        _ => {
            return Err(SshError::Several {
                text: text.to_owned(),
            });
        }
    };
    if !is_socket(&socket) {
        let path = socket.display().to_string();
        return Err(SshError::NotASocket {
            text: text.to_owned(),
            path,
        });
    }
    Ok((name, socket))
}

/// Options of a socket, such as `raw=true`, ask for what is done anyway: bytes are passed on.
fn split(text: &str) -> (String, Vec<String>) {
    let mut name = String::new();
    let mut sockets = Vec::new();
    for field in text.split(',').filter(|field| !field.is_empty()) {
        match field.split_once('=') {
            Some(("id", id)) => name = id.to_owned(),
            Some(("src" | "source", socket)) => sockets.push(socket.to_owned()),
            Some(("raw", _)) => {}
            Some((id, socket)) => {
                name = id.to_owned();
                sockets.push(socket.to_owned());
            }
            None if name.is_empty() => name = field.to_owned(),
            None => sockets.push(field.to_owned()),
        }
    }
    if name.is_empty() {
        name.push_str("default");
    }
    (name, sockets)
}

fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_option() {
        for (text, name, sockets) in [
            ("default", "default", &[][..]),
            ("", "default", &[]),
            ("other", "other", &[]),
            ("other=/s", "other", &["/s"]),
            ("id=other,src=/s", "other", &["/s"]),
            ("other=/s,raw=true", "other", &["/s"]),
            ("other=/s,/t", "other", &["/s", "/t"]),
        ] {
            let sockets: Vec<String> = sockets.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(split(text), (name.to_owned(), sockets), "{text}");
        }
    }

    #[test]
    fn sockets_are_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent");
        let _agent = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let text = format!("x={}", path.display());
        assert_eq!(parse(&text), Ok(("x".to_owned(), path)));
        let key = folder.path().join("key");
        std::fs::write(&key, "").expect("written");
        let message = parse(&format!("x={}", key.display()))
            .expect_err("a file")
            .to_string();
        assert!(message.contains("ssh-add"), "{message}");
        assert!(matches!(parse("x=/a,/b"), Err(SshError::Several { .. })));
    }
}
