//! Programs that are frontends (row FGW-07).
//!
//! Such a program runs in the same sandbox as a step, on a layer that is thrown away, and talks
//! over its standard input and output. What it writes to standard error is shown if it fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_executor::HostDevices;
use lamina_executor::MountKind;
use lamina_executor::NetworkMode;
use lamina_executor::ProcessSpec;
use lamina_executor::Resources;
use lamina_executor::Root;
use lamina_executor::SecurityMode;
use lamina_executor::StepMount;
use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::ProgressSink;
use lamina_types::StepStatus;

use super::Build;
use crate::BuildError;
use crate::FrontendProcess;
use crate::Pipe;
use crate::RunningProcess;
use crate::ops::exit_code;

/// How much of what a program writes to standard error is kept: the end of it.
const TAIL_BYTES: usize = 16 << 10;

/// Permission bits of the files that a program finds.
const FILE_MODE: u32 = 0o444;

impl Build {
    /// Starts a program on a tree of this build. It ends with the build, too.
    pub(super) async fn spawn(
        &self,
        process: FrontendProcess,
    ) -> Result<RunningProcess, BuildError> {
        let tree = self.evaluate(&process.root).await?;
        let inner = &self.0;
        let store = inner.services.snapshots.clone();
        let prepare = move |_: &CancelToken| {
            let layer = store.prepare(tree.stack());
            layer.map_err(|error| BuildError::new(error.to_string()))
        };
        let layer = inner.services.blocking.run(&inner.cancel, prepare).await?;
        let command = process.args.join(" ");
        let spec = spec(process, Root::Active(layer));
        let tail = Arc::new(Tail::default());
        let progress = Progress::new(Arc::clone(&tail) as _);
        let executor = &inner.services.executor;
        let spawned = executor.spawn(spec, &progress, &inner.cancel);
        let (running, stdin, stdout) = spawned.map_err(|error| not_run(&command, &error))?;
        let exit = async move {
            let finished = running.wait().await;
            let finished = finished.map_err(|error| not_run(&command, &error))?;
            match finished.status {
                ExitStatus::Code(0) => Ok(()),
                status => Err(failed(&command, status, &tail.text())),
            }
        };
        Ok(RunningProcess {
            pipe: Pipe {
                reader: Box::new(stdout),
                writer: Box::new(stdin),
            },
            exit: Box::pin(exit),
        })
    }
}

fn spec(process: FrontendProcess, root: Root) -> ProcessSpec {
    let file = |(dest, data): (String, Vec<u8>)| StepMount {
        dest,
        kind: MountKind::Secret {
            data,
            uid: 0,
            gid: 0,
            mode: FILE_MODE,
        },
        readonly: true,
    };
    ProcessSpec {
        args: process.args,
        env: process.env,
        cwd: process.cwd,
        user: process.user,
        hostname: String::new(),
        extra_hosts: Vec::new(),
        network: if process.no_network {
            NetworkMode::None
        } else {
            NetworkMode::Sandbox
        },
        security: SecurityMode::Sandbox,
        ulimits: Vec::new(),
        cgroup_parent: String::new(),
        resources: Resources::default(),
        devices: HostDevices::default(),
        emulator: None,
        remove_mount_stubs_recursive: false,
        root,
        mounts: process.files.into_iter().map(file).collect(),
    }
}

fn not_run(command: &str, error: &ExecError) -> BuildError {
    match error {
        ExecError::Cancelled(_) => BuildError::cancelled(),
        error => BuildError::new(format!("frontend {command:?}: {error}")),
    }
}

fn failed(command: &str, status: ExitStatus, said: &str) -> BuildError {
    let code = exit_code(status);
    let said = match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    };
    BuildError {
        exit_code: Some(code),
        ..BuildError::new(format!("frontend {command:?}: exit code: {code}{said}"))
    }
}

/// The end of what a program wrote.
#[derive(Default)]
struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl ProgressSink for Tail {
    fn log(&self, _: LogStream, data: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(data);
        let surplus = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..surplus);
    }
    fn status(&self, _: StepStatus) {}
    fn warn(&self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_what_a_program_says_is_kept() {
        let tail = Tail::default();
        tail.log(LogStream::Stderr, &vec![b'a'; TAIL_BYTES]);
        tail.log(LogStream::Stderr, b"the end");
        let text = tail.text();
        assert_eq!(text.len(), TAIL_BYTES);
        assert!(text.ends_with("athe end"));
    }

    #[test]
    fn a_failure_says_code_and_reason() {
        for (said, text) in [
            ("", "frontend \"f\": exit code: 137"),
            ("no memory\n", "frontend \"f\": exit code: 137: no memory"),
        ] {
            let error = failed("f", ExitStatus::Signal(9), said);
            assert_eq!((error.message.as_str(), error.exit_code), (text, Some(137)));
        }
    }
}
