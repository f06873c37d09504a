//! Limits of steps: `shm-size`, `ulimit`, memory and processors (rows FDF-15 to FDF-17).

use std::num::IntErrorKind;
use std::num::ParseIntError;

use lamina_proto::pb;

use crate::instructions::csv_fields;
use crate::options::OptionMap;
use crate::options::OptionsError;
use crate::quote::quoted;

/// The largest number of a processor or a memory node: more than any machine has.
const MAX_CPU: u32 = 8192;

const ULIMIT_NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn reason(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

pub(super) fn shm_size(text: &str) -> Result<i64, OptionsError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|error: ParseIntError| OptionsError::ShmSize {
            text: text.to_owned(),
            reason: reason(&error),
        })
}

pub(super) fn ulimits(text: &str) -> Result<Vec<pb::Ulimit>, OptionsError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let fields = csv_fields(text).map_err(OptionsError::UlimitFields)?;
    fields.iter().map(|field| ulimit(field)).collect()
}

/// Reads `name=soft[:hard]`.
fn ulimit(text: &str) -> Result<pb::Ulimit, OptionsError> {
    let malformed = || OptionsError::Ulimit {
        text: text.to_owned(),
    };
    let (name, limits) = text.split_once('=').ok_or_else(malformed)?;
    if limits.is_empty() {
        return Err(malformed());
    }
    if !ULIMIT_NAMES.contains(&name) {
        return Err(OptionsError::UlimitName {
            name: name.to_owned(),
        });
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (ulimit_number(soft)?, ulimit_number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(OptionsError::UlimitOrder { soft, hard });
    }
    Ok(pb::Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

fn ulimit_number(text: &str) -> Result<i64, OptionsError> {
    text.parse()
        .map_err(|error: ParseIntError| OptionsError::UlimitNumber {
            text: text.to_owned(),
            reason: reason(&error),
        })
}

pub(super) fn resources(given: &OptionMap) -> Result<Option<pb::LinuxResources>, OptionsError> {
    let resources = pb::LinuxResources {
        memory: signed(given, "memory", |n| n > 0, "> 0")?,
        memory_swap: signed(
            given,
            "memswap",
            |n| n == -1 || n > 0,
            "-1 (unlimited) or > 0",
        )?,
        cpu_shares: unsigned(given, "cpushares")?,
        cpu_period: unsigned(given, "cpuperiod")?,
        cpu_quota: signed(given, "cpuquota", |n| n > 0, "> 0")?,
        cpuset_cpus: cpu_set(given, "cpusetcpus")?,
        cpuset_mems: cpu_set(given, "cpusetmems")?,
    };
    Ok((resources != pb::LinuxResources::default()).then_some(resources))
}

fn set<'a>(given: &'a OptionMap, key: &str) -> Option<&'a String> {
    given.get(key).filter(|text| !text.is_empty())
}

fn signed(
    given: &OptionMap,
    key: &'static str,
    allowed: fn(i64) -> bool,
    wanted: &'static str,
) -> Result<i64, OptionsError> {
    let Some(text) = set(given, key) else {
        return Ok(0);
    };
    let number = text
        .parse()
        .map_err(|error: ParseIntError| OptionsError::ResourceNumber {
            key,
            text: text.clone(),
            kind: "Int",
            reason: reason(&error),
        })?;
    if allowed(number) {
        return Ok(number);
    }
    let text = text.clone();
    Err(OptionsError::ResourceRange { key, text, wanted })
}

fn unsigned(given: &OptionMap, key: &'static str) -> Result<u64, OptionsError> {
    let Some(text) = set(given, key) else {
        return Ok(0);
    };
    let number: u64 =
        text.parse()
            .map_err(|error: ParseIntError| OptionsError::ResourceNumber {
                key,
                text: text.clone(),
                kind: "Uint",
                reason: reason(&error),
            })?;
    if number > 0 {
        return Ok(number);
    }
    Err(OptionsError::ResourceRange {
        key,
        text: text.clone(),
        wanted: "> 0",
    })
}

/// Checks a list of numbers and ranges such as `0-3,7`; members that are empty do not count.
fn cpu_set(given: &OptionMap, key: &'static str) -> Result<String, OptionsError> {
    let Some(text) = set(given, key) else {
        return Ok(String::new());
    };
    for member in text.split(',').map(str::trim) {
        if !member.is_empty() {
            cpu_range(member).map_err(|reason| OptionsError::CpuSet {
                key,
                text: text.clone(),
                reason,
            })?;
        }
    }
    Ok(text.clone())
}

/// Checks a number or a range; the error says what is wrong with it.
fn cpu_range(member: &str) -> Result<(), String> {
    let (kind, first, last) = match member.split_once('-') {
        Some((first, last)) => ("range", first.trim(), last.trim()),
        None => ("element", member, member),
    };
    let shown = quoted(member);
    match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(_), Ok(last)) if last > MAX_CPU => {
            Err(format!("cpuset {kind} {shown} exceeds maximum {MAX_CPU}"))
        }
        (Ok(first), Ok(last)) if first <= last => Ok(()),
        _ => Err(format!("invalid cpuset {kind} {shown}")),
    }
}
