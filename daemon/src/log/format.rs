//! One line per event.

use std::fmt;

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use tracing::Event;
use tracing::Level;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;

/// Writes events in one of the forms.
pub(super) struct Lines(pub(super) LogFormat);

/// The fields of an event, with its message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = level_name(*event.metadata().level());
        let now = Timestamp::now();
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = match self.0 {
            LogFormat::Text => text(&time, level, &fields),
            LogFormat::Json => json(time, level, fields),
        };
        writeln!(writer, "{line}")
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn text(time: &str, level: &str, fields: &Fields) -> String {
    let mut line = format!("time=\"{time}\" level={level} msg={:?}", fields.message);
    for (name, value) in &fields.others {
        line.push_str(&format!(" {name}={value:?}"));
    }
    line
}

fn json(time: String, level: &str, fields: Fields) -> String {
    let mut object = Map::new();
    for (name, value) in fields.others {
        object.insert(name.to_owned(), Value::String(value));
    }
    object.insert("level".to_owned(), Value::String(level.to_owned()));
    object.insert("msg".to_owned(), Value::String(fields.message));
    object.insert("time".to_owned(), Value::String(time));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            message: "two\n\"words\"".to_owned(),
            others: vec![("path", "/a b".to_owned())],
        }
    }

    #[test]
    fn an_event_is_a_line() {
        assert_eq!(
            text("T", "info", &fields()),
            r#"time="T" level=info msg="two\n\"words\"" path="/a b""#
        );
        assert_eq!(
            json("T".to_owned(), "info", fields()),
            r#"{"path":"/a b","level":"info","msg":"two\n\"words\"","time":"T"}"#
        );
    }
}
