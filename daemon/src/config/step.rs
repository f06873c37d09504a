//! `[step]`: what one step may take. The section is ours; of BuildKit's there are variables of the
//! environment for the log, which go before it (row CSTA-11).
//!
//! ```toml
//! [step]
//! logMaxSize = "1GB"      # of each of its two streams; -1 = any
//! logMaxSpeed = "10MB"    # a second, on average
//! maxProcesses = 4096     # threads too
//! ```

use lamina_engine::StepLogLimits;
use lamina_executor::ProcessLimit;
use toml::Value;

use super::read::Notes;
use super::section::ConfigError;
use super::section::Section;
use super::size;
use super::size::Size;

/// What `[step]` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) log_max_size: Option<Cap>,
    pub(crate) log_max_speed: Option<Cap>,
    pub(crate) max_processes: Option<Cap>,
}

/// The most of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cap {
    /// Written -1.
    Unlimited,
    At(u64),
}

impl Step {
    /// Puts what the file says over `limits`.
    pub(crate) fn log(&self, limits: StepLogLimits) -> StepLogLimits {
        let over = |cap: Option<Cap>, usual| cap.map_or(usual, Cap::number);
        StepLogLimits {
            size: over(self.log_max_size, limits.size),
            speed: over(self.log_max_speed, limits.speed),
        }
    }

    pub(crate) fn processes(&self) -> ProcessLimit {
        let at = |number| ProcessLimit::At(u32::try_from(number).unwrap_or(u32::MAX));
        match self.max_processes.map(Cap::number) {
            None => ProcessLimit::Auto,
            Some(None) => ProcessLimit::Unlimited,
            Some(Some(number)) => at(number),
        }
    }
}

impl Cap {
    fn number(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(number) => Some(number),
        }
    }
}

pub(super) fn read(mut section: Section, notes: &mut Notes) -> Result<Step, ConfigError> {
    let step = Step {
        log_max_size: section.take_with("logMaxSize", bytes)?,
        log_max_speed: section.take_with("logMaxSpeed", bytes)?,
        max_processes: section.take_with("maxProcesses", count)?,
    };
    section.finish(&mut notes.unknown);
    Ok(step)
}

fn bytes(value: Value) -> Result<Cap, String> {
    if value == Value::Integer(-1) {
        return Ok(Cap::Unlimited);
    }
    match size::read(value)? {
        Size::Bytes(bytes) => Ok(Cap::At(bytes)),
        Size::Percent(_) => Err("a part of the disk is no length of a log".to_owned()),
    }
}

fn count(value: Value) -> Result<Cap, String> {
    match value {
        Value::Integer(-1) => Ok(Cap::Unlimited),
        Value::Integer(number) if number > 0 => Ok(Cap::At(number.unsigned_abs())),
        other => Err(format!("found {other}, expected a number above 0, or -1")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn step(text: &str) -> Result<Step, String> {
        let parsed = parse(&format!("[step]\n{text}\n"));
        parsed
            .map(|config| config.step)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn caps_are_numbers_or_none() {
        let usual = StepLogLimits::default();
        for (name, text, size, processes) in [
            ("nothing", "", usual.size, ProcessLimit::Auto),
            (
                "a size",
                "logMaxSize = \"1GB\"",
                Some(1 << 30),
                ProcessLimit::Auto,
            ),
            ("any size", "logMaxSize = -1", None, ProcessLimit::Auto),
            (
                "processes",
                "maxProcesses = 7",
                usual.size,
                ProcessLimit::At(7),
            ),
            (
                "any",
                "maxProcesses = -1",
                usual.size,
                ProcessLimit::Unlimited,
            ),
        ] {
            let step = step(text).expect(name);
            assert_eq!(step.log(usual).size, size, "{name}");
            assert_eq!(step.processes(), processes, "{name}");
        }
        let speed = step("logMaxSpeed = 5").expect("valid").log(usual).speed;
        assert_eq!(speed, Some(5));
    }

    #[test]
    fn other_values_are_refused_by_name() {
        for text in [
            "logMaxSize = \"10%\"",
            "logMaxSize = -2",
            "logMaxSpeed = true",
            "maxProcesses = 0",
            "maxProcesses = \"many\"",
        ] {
            let error = step(text).expect_err(text);
            assert!(error.contains("step."), "{text}: {error}");
        }
    }
}
