//! `--format`, tables, and how times and sizes are written (row CLI-23).

use std::time::Duration;
use std::time::SystemTime;

use prost_types::Timestamp;
use serde_json::Value;

use crate::error::CliError;
use crate::visible::visible;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

impl Format {
    /// Reads the option. Go's template for JSON is the only one that is known.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, CliError> {
        let Some(text) = text else {
            return Ok(Self::Table);
        };
        let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        match bare.as_str() {
            "" | "table" => Ok(Self::Table),
            "json" | "{{json.}}" => Ok(Self::Json),
            _ => Err(CliError::Format(text.to_owned())),
        }
    }
}

/// Writes rows in columns, two blanks apart. Cells may be anybody's text.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let shown = |row: &Vec<String>| row.iter().map(|cell| visible(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Makes a row of texts.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Returns a time of the wire; one that makes no sense is none.
pub(crate) fn time(stamp: Option<&Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(*stamp?).ok()
}

/// Writes a time as programs read it, or null.
pub(crate) fn time_json(stamp: Option<&Timestamp>) -> Value {
    let stamp = time(stamp).and_then(|time| jiff::Timestamp::try_from(time).ok());
    stamp.map_or(Value::Null, |stamp| Value::String(stamp.to_string()))
}

/// Writes how long ago something was: `3 hours ago`.
pub(crate) fn ago(stamp: Option<&Timestamp>) -> String {
    let past = time(stamp).map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
    past.map_or_else(String::new, |past| format!("{} ago", rough(past)))
}

fn rough(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let seconds = duration.as_secs();
    let unit = UNITS.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, name) = unit.unwrap_or((1, "second"));
    let count = seconds / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (text, format) in [
            (None, Format::Table),
            (Some("json"), Format::Json),
            (Some("{{json .}}"), Format::Json),
            (Some("{{ json . }}"), Format::Json),
        ] {
            assert_eq!(Format::parse(text).expect("known"), format, "{text:?}");
        }
        let message = Format::parse(Some("{{.ID}}"))
            .expect_err("unknown")
            .to_string();
        assert!(message.contains("{{.ID}}"), "{message}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [row(["ID", "SIZE"]), row(["long-id", "1B"]), row(["x", ""])];
        assert_eq!(table(&rows), "ID       SIZE\nlong-id  1B\nx\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn cells_are_no_commands_to_the_terminal() {
        let rows = [row(["a\x1b[31m", "b\nc"]), row(["", "d"])];
        assert_eq!(table(&rows), "a\\u{1b}[31m  b\\nc\n             d\n");
    }

    #[test]
    fn times_are_rough() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7200, "2 hours"),
            (200_000, "2 days"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn hostile_times_are_none() {
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, -1),
            (0, i32::MIN),
            (i64::MIN, i32::MAX),
        ] {
            let stamp = Timestamp { seconds, nanos };
            let _shown = (ago(Some(&stamp)), time_json(Some(&stamp)));
        }
    }
}
