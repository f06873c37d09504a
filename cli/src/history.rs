//! `lamina history` (rows BX-08, CLI-21): builds that the daemon remembers.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use lamina_client::Client;
use lamina_proto::control;
use lamina_proto::control::BuildHistoryRecord;
use serde_json::Value;
use serde_json::json;

use crate::args::HistoryArgs;
use crate::args::HistoryCommand;
use crate::connect;
use crate::error::CliError;
use crate::format;
use crate::format::Format;
use crate::metadata;
use crate::progress;
use crate::progress::Mode;
use crate::progress::Patience;
use crate::report;
use crate::visible::visible;

/// Runs `lamina history`.
pub(crate) async fn history(args: HistoryArgs) -> Result<ExitCode, CliError> {
    match args.command {
        HistoryCommand::Ls {
            filter,
            format,
            connection,
        } => {
            let format = Format::parse(format.as_deref())?;
            let client = connect::connect(&connection).await?;
            list(&records(&client, filter).await?, format);
        }
        HistoryCommand::Logs {
            build,
            progress,
            connection,
        } => {
            let client = connect::connect(&connection).await?;
            return logs(&client, build.as_deref(), progress).await;
        }
        HistoryCommand::Inspect {
            build,
            format,
            connection,
        } => {
            let format = Format::parse(format.as_deref())?;
            let client = connect::connect(&connection).await?;
            inspect(&find(&client, build.as_deref()).await?, format);
        }
        HistoryCommand::Rm {
            builds,
            all,
            connection,
        } => {
            let client = connect::connect(&connection).await?;
            remove(&client, &builds, all).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what is remembered, the newest first.
async fn records(
    client: &Client,
    filter: Vec<String>,
) -> Result<Vec<BuildHistoryRecord>, CliError> {
    let request = control::BuildHistoryRequest {
        early_exit: true,
        filter,
        ..control::BuildHistoryRequest::default()
    };
    let mut events = client.history(request).await?;
    let mut records = Vec::new();
    while let Some(event) = events.next().await {
        records.extend(event?.record);
    }
    let created =
        |record: &BuildHistoryRecord| record.created_at.map(|stamp| (stamp.seconds, stamp.nanos));
    records.sort_by_key(|record| std::cmp::Reverse(created(record)));
    Ok(records)
}

/// Finds a build by its name, by the beginning of one, or by its age (`^0` is the newest).
async fn find(client: &Client, wanted: Option<&str>) -> Result<BuildHistoryRecord, CliError> {
    let wanted = wanted.unwrap_or("^0");
    let mut records = records(client, Vec::new()).await?;
    if records.is_empty() {
        return Err(CliError::NoBuilds);
    }
    let missing = || CliError::NoSuchBuild(wanted.to_owned());
    let index = match wanted.strip_prefix('^') {
        Some(age) => age.parse().map_err(|_| missing())?,
        None => position(&records, wanted).ok_or_else(missing)?,
    };
    if index >= records.len() {
        return Err(missing());
    }
    Ok(records.swap_remove(index))
}

/// A whole name counts before beginnings, of which there must be one only.
fn position(records: &[BuildHistoryRecord], wanted: &str) -> Option<usize> {
    let exact = records.iter().position(|record| record.r#ref == wanted);
    exact.or_else(|| {
        let begins = |record: &BuildHistoryRecord| record.r#ref.starts_with(wanted);
        let first = records.iter().position(begins)?;
        (!records.iter().skip(first + 1).any(begins)).then_some(first)
    })
}

fn list(records: &[BuildHistoryRecord], format: Format) {
    if format == Format::Json {
        let records = records.iter().map(json).collect();
        return report::result(&Value::Array(records).to_string());
    }
    let mut rows = vec![format::row([
        "BUILD", "NAME", "STATUS", "CREATED", "DURATION",
    ])];
    for record in records {
        rows.push(vec![
            record.r#ref.clone(),
            name(record),
            status(record).to_owned(),
            format::ago(record.created_at.as_ref()),
            duration(record),
        ]);
    }
    report::text_result(&format::table(&rows));
}

/// Returns what a user would call the build.
fn name(record: &BuildHistoryRecord) -> String {
    let attribute = |key: &str| {
        record
            .frontend_attrs
            .get(key)
            .filter(|value| !value.is_empty())
    };
    let file = attribute("filename").map_or("Dockerfile", String::as_str);
    match (attribute("context"), attribute("target")) {
        _ if record.frontend.is_empty() && record.frontend_attrs.is_empty() => String::new(),
        (Some(context), _) => context.clone(),
        (None, Some(target)) => format!("{file} ({target})"),
        (None, None) => file.to_owned(),
    }
}

fn status(record: &BuildHistoryRecord) -> &'static str {
    match (&record.error, record.completed_at) {
        (_, None) => "Running",
        (Some(error), _) if error.code == 1 => "Canceled",
        (Some(_), _) => "Error",
        (None, _) => "Completed",
    }
}

fn duration(record: &BuildHistoryRecord) -> String {
    let begun = format::time(record.created_at.as_ref());
    let ended = format::time(record.completed_at.as_ref());
    let length = begun
        .zip(ended)
        .and_then(|(begun, ended)| ended.duration_since(begun).ok());
    length.map_or_else(String::new, |length| {
        format!("{:.1}s", length.as_secs_f64())
    })
}

async fn logs(client: &Client, build: Option<&str>, mode: Mode) -> Result<ExitCode, CliError> {
    let record = find(client, build).await?;
    let mut messages = client.status(&record.r#ref).await?;
    let (teller, shown, _) = progress::show(mode, Patience::EVER);
    while let Some(message) = messages.next().await {
        for event in progress::events(message?) {
            teller.tell(event).await;
        }
    }
    drop(teller);
    drop(shown.steps().await);
    Ok(ExitCode::SUCCESS)
}

fn inspect(record: &BuildHistoryRecord, format: Format) {
    if format == Format::Json {
        return report::result(&format!("{:#}", json(record)));
    }
    let stamp = |stamp| {
        format::time_json(stamp)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut rows = vec![
        vec!["Build:".to_owned(), record.r#ref.clone()],
        vec!["Frontend:".to_owned(), record.frontend.clone()],
        vec!["Status:".to_owned(), status(record).to_owned()],
        vec!["Created at:".to_owned(), stamp(record.created_at.as_ref())],
        vec![
            "Completed at:".to_owned(),
            stamp(record.completed_at.as_ref()),
        ],
        vec!["Duration:".to_owned(), duration(record)],
        vec!["Steps:".to_owned(), steps(record)],
        vec!["Pinned:".to_owned(), record.pinned.to_string()],
    ];
    if let Some(error) = &record.error {
        rows.push(vec!["Error:".to_owned(), error.message.replace('\n', " ")]);
    }
    for (key, value) in record
        .frontend_attrs
        .iter()
        .chain(&record.exporter_response)
    {
        rows.push(vec![format!("{key}:"), metadata::readable(value)]);
    }
    rows.retain(|row| !row[1].is_empty());
    report::text_result(&format::table(&rows));
}

fn steps(record: &BuildHistoryRecord) -> String {
    format!(
        "{} of {} done, {} from the cache",
        record.num_completed_steps, record.num_total_steps, record.num_cached_steps
    )
}

/// Removes builds; pinned ones and those that run stay if all are meant.
async fn remove(client: &Client, builds: &[String], all: bool) -> Result<(), CliError> {
    let mut ids = Vec::new();
    if all {
        let records = records(client, Vec::new()).await?;
        let ended = records
            .into_iter()
            .filter(|r| r.completed_at.is_some() && !r.pinned);
        ids.extend(ended.map(|record| record.r#ref));
    }
    // All names are looked up before the first is removed, so that ages keep their meaning.
    for build in builds {
        ids.push(find(client, Some(build)).await?.r#ref);
    }
    for id in ids {
        let request = control::UpdateBuildHistoryRequest {
            r#ref: id.clone(),
            delete: true,
            ..control::UpdateBuildHistoryRequest::default()
        };
        client.update_history(request).await?;
        report::result(&visible(&id));
    }
    Ok(())
}

fn json(record: &BuildHistoryRecord) -> Value {
    json!({
        "ref": record.r#ref,
        "name": name(record),
        "status": status(record),
        "frontend": record.frontend,
        "frontendAttrs": record.frontend_attrs,
        "createdAt": format::time_json(record.created_at.as_ref()),
        "completedAt": format::time_json(record.completed_at.as_ref()),
        "exporterResponse": record.exporter_response,
        "error": record.error.as_ref().map(|error| json!({
            "code": error.code,
            "message": error.message,
        })),
        "pinned": record.pinned,
        "numCachedSteps": record.num_cached_steps,
        "numCompletedSteps": record.num_completed_steps,
        "numTotalSteps": record.num_total_steps,
        "numWarnings": record.num_warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> BuildHistoryRecord {
        BuildHistoryRecord {
            r#ref: name.to_owned(),
            ..BuildHistoryRecord::default()
        }
    }

    #[test]
    fn builds_are_found_by_the_beginning_of_their_name() {
        let records = [record("abc"), record("abd"), record("ab"), record("x")];
        for (wanted, index) in [
            ("ab", Some(2)),
            ("abc", Some(0)),
            ("x", Some(3)),
            ("a", None),
            ("nope", None),
        ] {
            assert_eq!(position(&records, wanted), index, "{wanted}");
        }
    }

    #[test]
    fn a_build_has_a_state() {
        let mut record = record("a");
        assert_eq!(status(&record), "Running");
        record.completed_at = Some(prost_types::Timestamp::default());
        assert_eq!(status(&record), "Completed");
        record.error = Some(lamina_proto::rpc::Status {
            code: 1,
            ..lamina_proto::rpc::Status::default()
        });
        assert_eq!(status(&record), "Canceled");
        assert_eq!(json(&record)["status"], "Canceled");
    }
}
