//! Signal names (row DFI-38).

const NAMES: [&str; 37] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    "UNUSED",
];

/// The span of the real-time signals.
const REAL_TIME: u32 = 30;

/// Says whether `text` is a number other than 0, or the name of a signal with or without `SIG`.
pub(super) fn is_valid(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_real_time(name)
}

/// `RTMIN+1` to `RTMIN+15` and `RTMAX-1` to `RTMAX-14`.
fn is_real_time(name: &str) -> bool {
    let offset = |rest: Option<&str>, last: u32| {
        rest.and_then(|digits| digits.parse::<u32>().ok())
            .is_some_and(|number| (1..=last).contains(&number))
    };
    offset(name.strip_prefix("RTMIN+"), REAL_TIME / 2)
        || offset(name.strip_prefix("RTMAX-"), REAL_TIME / 2 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, valid) in [
            ("SIGTERM", true),
            ("kill", true),
            ("9", true),
            ("-1", true),
            ("99999", true),
            ("SIGRTMIN+3", true),
            ("SIGRTMAX-14", true),
            ("0", false),
            ("SIGFOO", false),
            ("", false),
        ] {
            assert_eq!(is_valid(text), valid, "{text}");
        }
    }
}
