//! Which platforms the machine runs (row CTL-05).
//!
//! First what the processor runs itself: its own architecture, the levels of amd64 that it reaches,
//! and 386 if the kernel takes such programs. Then what `binfmt_misc` hands to an emulator, as far as
//! [`handlers`] says that this works inside a step's root.

mod handlers;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use lamina_types::Platform;
use rustix::fs::MemfdFlags;

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// The platforms of an engine.
pub(crate) enum Platforms {
    /// As configured.
    Fixed(Vec<Platform>),
    /// As found on the machine, and when. It is believed for so long only: emulators are set up while
    /// a daemon runs.
    Found {
        max_age: Duration,
        found: Mutex<(Vec<Platform>, Instant)>,
    },
}

impl Platforms {
    /// Returns those of the configuration; the host's alone means all that the machine runs.
    pub(crate) fn new(configured: &[Platform], max_age: Duration) -> Self {
        if configured == [Platform::host()] {
            let found = Mutex::new((detect(), Instant::now()));
            return Self::Found { max_age, found };
        }
        Self::Fixed(configured.to_vec())
    }

    /// Returns what is known now, looking again if that is some time ago.
    pub(crate) fn now(&self) -> Vec<Platform> {
        match self {
            Self::Fixed(platforms) => platforms.clone(),
            Self::Found { max_age, found } => {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                if found.1.elapsed() >= *max_age {
                    *found = (detect(), Instant::now());
                }
                found.0.clone()
            }
        }
    }

    /// Returns the emulator that steps for `platform` have to be given (row EXC-38); `None` if the
    /// processor runs its programs itself, or the kernel holds the emulator open.
    pub(crate) fn emulator(platform: &Platform) -> Option<PathBuf> {
        if platform.architecture == Platform::host().architecture {
            return None;
        }
        handlers::to_be_given(Path::new(BINFMT), &platform.architecture)
    }
}

/// Returns all platforms, the native one first.
fn detect() -> Vec<Platform> {
    let native = Platform::host();
    let mut platforms = vec![native.clone()];
    if native.architecture == "amd64" {
        platforms.extend(amd64_levels());
        if runs(&EXITS_386) {
            platforms.push(Platform::new("linux", "386", ""));
        }
    }
    for platform in handlers::emulated(Path::new(BINFMT)) {
        if platform.architecture != native.architecture && !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    platforms
}

/// A 32-bit program whose only act is to end well: the header of the file, one segment, seven bytes
/// of code (`exit(0)`).
const EXITS_386: [u8; 91] = [
    0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 32 bits, little endian
    2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 4, 8, 0x34, 0, 0, 0, // executable, 386, entry
    0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0, 0x20, 0, 1, 0, 0, 0, // one program header
    0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 4, 8, // load at 0x8048000
    0, 0x80, 4, 8, 0x5b, 0, 0, 0, 0x5b, 0, 0, 0, 5, 0, 0, 0, // 91 bytes, read and execute
    0, 0x10, 0, 0, // alignment
    0x31, 0xdb, 0x31, 0xc0, 0x40, 0xcd, 0x80, // xor ebx,ebx; xor eax,eax; inc eax; int 0x80
];

/// Runs a program that is in memory only, since folders may be mounted without execution.
fn runs(program: &[u8]) -> bool {
    let Ok(fd) = rustix::fs::memfd_create("lamina-probe", MemfdFlags::CLOEXEC) else {
        return false;
    };
    let mut file = File::from(fd);
    let ran = file.write_all(program).and_then(|()| {
        Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    });
    ran.is_ok_and(|status| status.success())
}

#[cfg(target_arch = "x86_64")]
fn amd64_levels() -> Vec<Platform> {
    let levels = [("v2", has_v2()), ("v3", has_v3()), ("v4", has_v4())];
    let reached = levels.into_iter().take_while(|(_, reached)| *reached);
    reached
        .map(|(level, _)| Platform::new("linux", "amd64", level))
        .collect()
}

#[cfg(target_arch = "x86_64")]
fn has_v2() -> bool {
    is_x86_feature_detected!("sse4.2")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("cmpxchg16b")
}

#[cfg(target_arch = "x86_64")]
fn has_v3() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
}

#[cfg(target_arch = "x86_64")]
fn has_v4() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_levels() -> Vec<Platform> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_platform_comes_first() {
        let platforms = Platforms::new(&[Platform::host()], Duration::ZERO).now();
        assert_eq!(platforms[0], Platform::host());
        let other = vec![Platform::new("linux", "riscv64", "")];
        assert_eq!(Platforms::new(&other, Duration::ZERO).now(), other);
        assert_eq!(Platforms::emulator(&Platform::host()), None);
        assert!(!runs(b"no program"));
    }
}
