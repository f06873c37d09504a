//! Which finished builds a listener asks for (rows CTL-18, CTL-19).

use std::time::Duration;
use std::time::SystemTime;

use lamina_proto::control::BuildHistoryRecord;
use prost_types::Timestamp;

use super::HistoryError;
use crate::filter::Fields;
use crate::filter::Filters;
use crate::status::timestamp;

/// Entries of which one must match; in an entry, all terms must.
pub(super) struct HistoryFilter(Vec<Entry>);

struct Entry {
    fields: Filters,
    comparisons: Vec<Comparison>,
}

struct Comparison {
    key: Key,
    operator: Operator,
    /// Seconds since 1970, or nanoseconds of a duration.
    value: i128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    StartedAt,
    CompletedAt,
    Duration,
}

#[derive(Clone, Copy)]
enum Operator {
    AtLeast,
    AtMost,
    More,
    Less,
}

/// In the order in which they are looked for.
const OPERATORS: [(&str, Operator); 4] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::More),
    ("<", Operator::Less),
];

impl HistoryFilter {
    pub(super) fn parse(filters: &[String], now: SystemTime) -> Result<Self, HistoryError> {
        let entries = filters.iter().map(|filter| Entry::parse(filter, now));
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the records that match, the newest `limit` of them if that is not 0.
    pub(super) fn select(
        &self,
        mut records: Vec<BuildHistoryRecord>,
        limit: i32,
    ) -> Result<Vec<BuildHistoryRecord>, HistoryError> {
        let invalid = |_| HistoryError::Invalid(format!("invalid limit {limit}"));
        let limit = usize::try_from(limit).map_err(invalid)?;
        records.retain(|record| self.0.is_empty() || self.0.iter().any(|e| e.matches(record)));
        if limit > 0 {
            records.sort_by_key(|record| std::cmp::Reverse(nanos(record.created_at.as_ref())));
            records.truncate(limit);
        }
        Ok(records)
    }
}

impl Entry {
    fn parse(text: &str, now: SystemTime) -> Result<Self, HistoryError> {
        let (mut fields, mut comparisons) = (Vec::new(), Vec::new());
        for term in split(text) {
            match Comparison::parse(&term, now)? {
                Some(comparison) => comparisons.push(comparison),
                None => fields.push(term),
            }
        }
        let fields = Filters::parse(&[fields.join(",")]).map_err(|(_, error)| {
            HistoryError::Invalid(format!("failed to parse history filters {text}: {error}"))
        })?;
        Ok(Self {
            fields,
            comparisons,
        })
    }

    fn matches(&self, record: &BuildHistoryRecord) -> bool {
        self.comparisons.iter().all(|term| term.matches(record))
            && self.fields.match_fields(&Record(record))
    }
}

impl Comparison {
    /// Returns `None` if the term is none of those that compare.
    fn parse(term: &str, now: SystemTime) -> Result<Option<Self>, HistoryError> {
        let split = |(text, operator)| term.split_once(text).map(|(k, v)| (k, operator, v));
        let Some((key, operator, value)) = OPERATORS.into_iter().find_map(split) else {
            return Ok(None);
        };
        let key = match key {
            "startedAt" => Key::StartedAt,
            "completedAt" => Key::CompletedAt,
            "duration" => Key::Duration,
            _ => return Ok(None),
        };
        let value = if key == Key::Duration {
            go_duration(value).ok_or_else(|| format!("invalid duration {value}"))
        } else {
            point_in_time(value, now).ok_or_else(|| format!("invalid time {value}"))
        };
        Ok(Some(Self {
            key,
            operator,
            value: value.map_err(HistoryError::Invalid)?,
        }))
    }

    fn matches(&self, record: &BuildHistoryRecord) -> bool {
        let (created, completed) = (record.created_at.as_ref(), record.completed_at.as_ref());
        let value = match self.key {
            Key::StartedAt => seconds(created),
            Key::CompletedAt => seconds(completed),
            Key::Duration if completed.is_none() => 0,
            Key::Duration => nanos(completed) - nanos(created),
        };
        match self.operator {
            Operator::AtLeast => value >= self.value,
            Operator::AtMost => value <= self.value,
            Operator::More => value > self.value,
            Operator::Less => value < self.value,
        }
    }
}

struct Record<'a>(&'a BuildHistoryRecord);

impl Fields for Record<'_> {
    fn field(&self, path: &[String]) -> Option<String> {
        match path.first()?.as_str() {
            "ref" => Some(self.0.r#ref.clone()).filter(|id| !id.is_empty()),
            "status" => Some(status(self.0).to_owned()),
            "repository" => repository(self.0),
            _ => None,
        }
    }
}

fn status(record: &BuildHistoryRecord) -> &'static str {
    match &record.error {
        _ if record.completed_at.is_none() => "running",
        None => "completed",
        Some(error) if error.message.contains("context canceled") => "canceled",
        Some(_) => "error",
    }
}

/// Returns where the sources came from, without a branch.
fn repository(record: &BuildHistoryRecord) -> Option<String> {
    if let Some(source) = record.frontend_attrs.get("vcs:source") {
        return Some(source.clone());
    }
    let context = record.frontend_attrs.get("context")?;
    let is_remote = ["http://", "https://", "ssh://", "git://", "git@"]
        .iter()
        .any(|prefix| context.starts_with(prefix));
    let remote = context.split('#').next()?;
    is_remote.then(|| remote.to_owned())
}

/// Splits at commas; a field in double quotes may contain some, and quotes by doubling them.
fn split(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is always one");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields
}

fn seconds(time: Option<&Timestamp>) -> i128 {
    time.map_or(0, |time| i128::from(time.seconds))
}

fn nanos(time: Option<&Timestamp>) -> i128 {
    time.map_or(0, |time| {
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
    })
}

/// Parses a time, or how long ago it was, into seconds since 1970.
fn point_in_time(text: &str, now: SystemTime) -> Option<i128> {
    if let Some(age) = go_duration(text) {
        let now = nanos(Some(&timestamp(now)));
        return Some((now - age).div_euclid(1_000_000_000));
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(i128::from(time.as_second()))
}

/// Parses a duration as Go writes it, `1h30m`, into nanoseconds.
fn go_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let unit = &rest[..end.unwrap_or(rest.len())];
        rest = &rest[unit.len()..];
        let part = Duration::try_from_secs_f64(number * unit_seconds(unit)?).ok()?;
        total = total.checked_add(part)?;
    }
    let nanos = i128::try_from(total.as_nanos()).ok()?;
    Some(if negative { -nanos } else { nanos })
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use lamina_proto::rpc;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn record(id: &str, created: i64, completed: i64, error: &str) -> BuildHistoryRecord {
        BuildHistoryRecord {
            r#ref: id.to_owned(),
            created_at: time(created),
            completed_at: time(completed),
            error: (!error.is_empty()).then(|| rpc::Status {
                message: error.to_owned(),
                ..rpc::Status::default()
            }),
            frontend_attrs: [(
                "context".to_owned(),
                format!("https://git.example/{id}.git#main"),
            )]
            .into(),
            ..BuildHistoryRecord::default()
        }
    }

    fn select(filters: &[&str], limit: i32) -> Result<String, String> {
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        let records = vec![
            record("a", -100, -90, ""),
            record("b", -50, -20, "boom"),
            record("c", -10, -5, "x: context canceled"),
        ];
        let filter = HistoryFilter::parse(&filters, NOW).map_err(|error| error.to_string())?;
        let found = filter
            .select(records, limit)
            .map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|record| record.r#ref).collect())
    }

    #[test]
    fn what_is_selected() {
        for (filters, limit, wanted) in [
            (&[][..], 0, "abc"),
            (&[], 2, "cb"),
            (&["ref==a"], 0, "a"),
            (&["ref==a", "ref==c"], 0, "ac"),
            (&["status==error"], 0, "b"),
            (&["status==canceled"], 0, "c"),
            (&["status==completed,ref==b"], 0, ""),
            (&["repository==https://git.example/b.git"], 0, "b"),
            (&["startedAt>1m"], 0, "bc"),
            (&["startedAt<=50s"], 0, "ab"),
            (&["completedAt<1969-12-31T23:59:35Z"], 0, "a"),
            (&["duration>=10s"], 0, "ab"),
            (&["duration>10s,status==error"], 0, "b"),
            (&["\"ref==a\""], 0, "a"),
        ] {
            assert_eq!(select(filters, limit).as_deref(), Ok(wanted), "{filters:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (filters, limit, error) in [
            (&[][..], -1, "invalid limit -1"),
            (&["startedAt>soon"], 0, "invalid time soon"),
            (&["duration<x"], 0, "invalid duration x"),
            (&["=="], 0, "failed to parse history filters =="),
        ] {
            let refused = select(filters, limit).expect_err(error);
            assert!(refused.starts_with(error), "{refused}");
        }
    }

    #[test]
    fn durations_of_go() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("10µs", Some(10_000)),
            ("", None),
            ("1", None),
            ("h", None),
            ("1d", None),
            ("1..5s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(go_duration(text), nanos, "{text:?}");
        }
    }
}
