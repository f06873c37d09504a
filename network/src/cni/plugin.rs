//! One call of a plugin: a program that reads its configuration and prints a result.

use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use serde_json::Value;

use super::CniError;
use crate::output;
use crate::sys;

/// How long a plugin may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is called, and with what.
pub(super) struct Call<'a> {
    pub(super) command: &'static str,
    /// Of the namespace.
    pub(super) id: &'a str,
    pub(super) args: &'a str,
    /// Path of the namespace; empty if it is gone.
    pub(super) netns: &'a str,
    pub(super) interface: &'a str,
    pub(super) config: &'a Value,
    /// Where the configuration comes from.
    pub(super) file: &'a str,
    pub(super) plugins: &'a Path,
}

/// Calls the plugin and returns what it prints; null if that is nothing.
pub(super) fn call(call: &Call<'_>) -> Result<Value, CniError> {
    let plugin = call.config["type"].as_str().unwrap_or_default();
    let program = call.plugins.join(plugin);
    if !program.is_file() {
        return Err(CniError::Missing {
            plugin: plugin.to_owned(),
            config: call.file.to_owned(),
            directory: call.plugins.display().to_string(),
        });
    }
    run(call, &program).map_err(|reason| CniError::Failed {
        plugin: plugin.to_owned(),
        config: call.file.to_owned(),
        command: call.command,
        reason,
    })
}

/// Returns a path by which children of this process reach a namespace.
pub(super) fn path_of(namespace: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

/// Returns the further arguments for a step with this host name, as plugins that serve names know
/// them.
pub(super) fn arguments(hostname: &str) -> String {
    // A semicolon would begin another argument.
    if hostname.is_empty() || hostname.contains([';', '=']) {
        return String::new();
    }
    format!("K8S_POD_NAME={hostname};IgnoreUnknown=1")
}

fn run(call: &Call<'_>, program: &Path) -> Result<Value, String> {
    let said = |error: io::Error| error.to_string();
    let (mut results, mut errors) = (output::file().map_err(said)?, output::file().map_err(said)?);
    let status = start(call, program, &results, &errors)
        .and_then(end)
        .map_err(said)?;
    let printed = output::text(&mut results).map_err(said)?;
    if status.success() {
        if printed.trim().is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_str(&printed).map_err(|error| format!("bad result: {error}"));
    }
    Err(match message(&printed) {
        Some(message) => message,
        None => format!(
            "{status}: {}",
            output::text(&mut errors).map_err(said)?.trim()
        ),
    })
}

/// The files are in memory, so that neither side ever waits for the other to read.
fn start(call: &Call<'_>, program: &Path, results: &File, errors: &File) -> io::Result<Child> {
    let mut input = output::file()?;
    input.write_all(call.config.to_string().as_bytes())?;
    input.rewind()?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("CNI_COMMAND", call.command)
        .env("CNI_CONTAINERID", call.id)
        .env("CNI_NETNS", call.netns)
        .env("CNI_IFNAME", call.interface)
        .env("CNI_ARGS", call.args)
        .env("CNI_PATH", call.plugins)
        .current_dir("/")
        .stdin(input)
        .stdout(results.try_clone()?)
        .stderr(errors.try_clone()?);
    sys::die_with_this_thread(&mut command).spawn()
}

/// Waits for the end, or brings it about.
fn end(mut child: Child) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout)))?;
    if ended == 0 {
        child.kill()?;
        child.wait()?;
        return Err(io::ErrorKind::TimedOut.into());
    }
    child.wait()
}

/// Returns the reason in the error that a plugin prints.
fn message(printed: &str) -> Option<String> {
    let error: Value = serde_json::from_str(printed).ok()?;
    let message = error["msg"].as_str()?;
    Some(match error["details"].as_str() {
        None | Some("") => message.to_owned(),
        Some(details) => format!("{message}: {details}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_cannot_add_arguments() {
        assert_eq!(arguments("builder"), "K8S_POD_NAME=builder;IgnoreUnknown=1");
        for odd in ["", "a;IP=10.0.0.1", "a=b"] {
            assert_eq!(arguments(odd), "");
        }
    }

    #[test]
    fn errors_are_told_in_the_plugins_words() {
        for (printed, expected) in [
            (
                r#"{"code": 7, "msg": "bad", "details": "very"}"#,
                Some("bad: very"),
            ),
            (r#"{"code": 7, "msg": "bad"}"#, Some("bad")),
            (r#"{"code": 7}"#, None),
            ("panic", None),
        ] {
            assert_eq!(message(printed).as_deref(), expected, "{printed}");
        }
    }
}
