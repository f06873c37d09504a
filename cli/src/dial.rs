//! `lamina dial-stdio` (row CLI-17): bytes between standard input and output and the daemon.
//!
//! Helpers that reach a daemon through a container or another machine run this at the far end.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::args::DialArgs;
use crate::connect;
use crate::error::CliError;

/// Bytes that are passed on at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Runs until the daemon or the reader of standard output has had enough. The end of standard input
/// is passed on, and the answer to it still comes.
pub(crate) fn dial_stdio(args: &DialArgs) -> Result<ExitCode, CliError> {
    let address = connect::given(&args.connection).unwrap_or_else(connect::usual);
    let unreachable = |reason: io::Error| CliError::Dial {
        address: address.clone(),
        reason,
    };
    match address.split_once("://") {
        Some(("unix", path)) => {
            let stream = UnixStream::connect(path).map_err(unreachable)?;
            let end = |stream: &UnixStream| stream.shutdown(Shutdown::Write);
            join(stream.try_clone(), stream, end)
        }
        Some(("tcp", host)) => {
            let stream = TcpStream::connect(host).map_err(unreachable)?;
            let end = |stream: &TcpStream| stream.shutdown(Shutdown::Write);
            join(stream.try_clone(), stream, end)
        }
        _ => Err(unreachable(io::Error::other(
            "expected unix://PATH or tcp://HOST:PORT",
        ))),
    }
}

fn join<S: Read + Write + Send + 'static>(
    reader: io::Result<S>,
    mut writer: S,
    end: fn(&S) -> io::Result<()>,
) -> Result<ExitCode, CliError> {
    let mut reader = reader.map_err(CliError::Standard)?;
    // Reading standard input cannot be interrupted; the thread ends with the process.
    std::thread::spawn(move || {
        pass(&mut io::stdin().lock(), &mut writer)?;
        end(&writer)
    });
    match pass(&mut reader, &mut io::stdout().lock()) {
        // The reader has had enough, which is how most clients leave.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CliError::Standard(error)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Passes bytes on as they come, to the end.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
