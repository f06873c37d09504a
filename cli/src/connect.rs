//! Finding the daemon and reaching it (rows CLI-01, CCL-01).

use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lamina_client::Client;
use lamina_client::TlsFiles;
use lamina_daemon::places;

use crate::args::ConnectionArgs;
use crate::error::CliError;

/// The variable that names the daemon, as BuildKit's own client has it.
const VARIABLE: &str = "BUILDKIT_HOST";

/// Returns the address that the user gave: the flag before the environment.
pub(crate) fn given(args: &ConnectionArgs) -> Option<String> {
    let variable = || std::env::var(VARIABLE).ok();
    let given = args.addr.clone().or_else(variable);
    given.filter(|address| !address.is_empty())
}

/// Returns the address of this user's daemon, whether it runs or not.
pub(crate) fn usual() -> String {
    format!("unix://{}", places::default_socket().display())
}

/// Returns the address of this user's daemon, if it runs: its socket belongs to this user, and
/// somebody answers. A socket of anybody else's is not dialled.
pub(crate) fn running() -> Option<String> {
    let socket = places::default_socket();
    (is_ours(&socket) && lamina_daemon::is_served(&socket)).then(usual)
}

fn is_ours(socket: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let data = std::fs::symlink_metadata(socket);
    data.is_ok_and(|data| data.file_type().is_socket() && data.uid() == user)
}

/// Connects to the daemon that the arguments mean.
pub(crate) async fn connect(args: &ConnectionArgs) -> Result<Client, CliError> {
    let address = given(args).unwrap_or_else(usual);
    connect_to(&address, args).await
}

/// Connects to the daemon at `address`.
pub(crate) async fn connect_to(address: &str, args: &ConnectionArgs) -> Result<Client, CliError> {
    Client::connect(address, &tls_files(args))
        .await
        .map_err(CliError::from)
}

fn tls_files(args: &ConnectionArgs) -> TlsFiles {
    let server_name = args.tlsservername.clone();
    match &args.tlsdir {
        Some(dir) => TlsFiles {
            ca: Some(dir.join("ca.pem")),
            cert: Some(dir.join("cert.pem")),
            key: Some(dir.join("key.pem")),
            server_name,
        },
        None => TlsFiles {
            ca: args.tlscacert.clone(),
            cert: args.tlscert.clone(),
            key: args.tlskey.clone(),
            server_name,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_of_this_user_is_ours_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("x.sock");
        let _listener = UnixListener::bind(&socket).expect("bound");
        assert!(is_ours(&socket));
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "").expect("written");
        std::os::unix::fs::symlink(&socket, &link).expect("linked");
        for other in [file, link, folder.path().join("nothing")] {
            assert!(!is_ours(&other), "{}", other.display());
        }
        let given = std::os::unix::fs::chown(&socket, Some(12345), None);
        assert!(given.is_err() || !is_ours(&socket), "another user's");
    }
}
