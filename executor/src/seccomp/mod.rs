//! The system calls of a confined step (row EXC-32).
//!
//! The rules are those of Docker's default profile for its default capabilities: a list of allowed
//! calls, some allowed for certain arguments only, everything else `EPERM`. libseccomp compiles
//! them once, in the runtime; each step loads the finished program.
//!
//! Calls that are newer than libseccomp need care: programs probe for them and fall back on
//! `ENOSYS`, but give up on `EPERM`. Numbers from 424 up mean the same on every architecture, so a
//! few instructions put before libseccomp's program allow the new ones of the list by number and
//! answer `ENOSYS` beyond the newest call that the list was made for.

mod newer;
mod rules;

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;

use libseccomp::ScmpAction;
use libseccomp::ScmpArch;
use libseccomp::ScmpFilterContext;
use libseccomp::ScmpSyscall;
use libseccomp::error::SeccompError;
use serde_json::Value;
use serde_json::json;

use crate::sys::SockFilter;

/// Allowed for any arguments.
const ALLOWED: &str = include_str!("allowed.txt");

/// Compiles the filter of confined steps.
pub(crate) fn compile() -> Result<Vec<SockFilter>, CompileError> {
    let denied = ScmpAction::Errno(libc::EPERM);
    let mut context = ScmpFilterContext::new(denied)?;
    for architecture in architectures() {
        context.add_arch(*architecture)?;
    }
    for name in allowed_names() {
        if let Ok(call) = ScmpSyscall::from_name(name) {
            context.add_rule(ScmpAction::Allow, call)?;
        }
    }
    rules::add(&mut context)?;
    let compiled = decode(&export(&context)?);
    Ok(newer::prepend(compiled, allowed_names()))
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The library refused a rule.
    #[error("compile the system call filter: {0}")]
    Library(#[from] SeccompError),
    /// The program could not be passed on.
    #[error("compile the system call filter: {0}")]
    Io(#[from] io::Error),
}

/// Returns the program as bytes, by way of a file in memory.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create(c"lamina-filter", flags).map_err(io::Error::from)?;
    let mut file = File::from(fd);
    context.export_bpf(&mut file)?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the same rules as an OCI runtime reads them.
pub(crate) fn oci_profile() -> Value {
    let names: Vec<&str> = allowed_names().collect();
    let mut calls = vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" })];
    calls.extend(rules::oci());
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "syscalls": calls,
    })
}

fn allowed_names() -> impl Iterator<Item = &'static str> {
    ALLOWED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The native architecture is always there; these are the others that the kernel also runs.
fn architectures() -> &'static [ScmpArch] {
    if cfg!(target_arch = "x86_64") {
        &[ScmpArch::X86, ScmpArch::X32]
    } else if cfg!(target_arch = "aarch64") {
        &[ScmpArch::Arm]
    } else {
        &[]
    }
}

fn decode(bytes: &[u8]) -> Vec<SockFilter> {
    let (instructions, _) = bytes.as_chunks::<8>();
    instructions
        .iter()
        .map(|[a, b, t, f, w, x, y, z]| SockFilter {
            code: u16::from_ne_bytes([*a, *b]),
            jump_true: *t,
            jump_false: *f,
            operand: u32::from_ne_bytes([*w, *x, *y, *z]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_without_repeats() {
        let names: Vec<_> = allowed_names().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_filter_fits_the_kernels_limit() {
        let filter = compile().expect("compiles");
        assert!((300..4096).contains(&filter.len()), "{}", filter.len());
    }
}
