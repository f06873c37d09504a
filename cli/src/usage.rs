//! `lamina du` and `lamina prune` (rows CLI-14, CLI-15).

use std::process::ExitCode;

use futures_util::StreamExt as _;
use lamina_proto::control;
use serde_json::Value;
use serde_json::json;

use crate::args::DuArgs;
use crate::args::PruneArgs;
use crate::connect;
use crate::error::CliError;
use crate::format;
use crate::format::Format;
use crate::progress::human_bytes;
use crate::report;

/// Bytes in the unit of sizes on the command line.
const MEGABYTE: i64 = 1_000_000;

/// Runs `lamina du`.
pub(crate) async fn du(args: DuArgs) -> Result<ExitCode, CliError> {
    let format = Format::parse(args.format.as_deref())?;
    let client = connect::connect(&args.connection).await?;
    let request = control::DiskUsageRequest {
        filter: args.filter,
        ..control::DiskUsageRequest::default()
    };
    let records = client.disk_usage(request).await?;
    show(&records, format, args.verbose);
    if format == Format::Table {
        totals(&records);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `lamina prune`.
pub(crate) async fn prune(args: PruneArgs) -> Result<ExitCode, CliError> {
    let format = Format::parse(args.format.as_deref())?;
    let client = connect::connect(&args.connection).await?;
    let mut removed = client.prune(request(&args)).await?;
    let mut records = Vec::new();
    while let Some(record) = removed.next().await {
        records.push(record?);
    }
    show(&records, format, args.verbose);
    if format == Format::Table {
        report::result(&format!(
            "Total:  {}",
            human_bytes(total(&records, |_| true))
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &PruneArgs) -> control::PruneRequest {
    let bytes = |megabytes: Option<u32>| i64::from(megabytes.unwrap_or_default()) * MEGABYTE;
    let keep = args.keep_duration.unwrap_or_default().as_nanos();
    control::PruneRequest {
        filter: args.filter.clone(),
        all: args.all,
        keep_duration: i64::try_from(keep).unwrap_or(i64::MAX),
        reserved_space: bytes(args.reserved_space),
        max_used_space: bytes(args.max_used_space),
        min_free_space: bytes(args.min_free_space),
    }
}

fn show(records: &[control::UsageRecord], format: Format, verbose: bool) {
    match format {
        Format::Json => {
            let records = records.iter().map(json).collect();
            report::result(&Value::Array(records).to_string());
        }
        Format::Table if verbose => {
            for record in records {
                report::text_result(&details(record));
            }
        }
        Format::Table => report::text_result(&listed(records)),
    }
}

fn listed(records: &[control::UsageRecord]) -> String {
    let mut rows = vec![format::row(["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"])];
    for record in records {
        let mark = if record.mutable { "*" } else { "" };
        rows.push(vec![
            format!("{}{mark}", record.id),
            (!record.in_use).to_string(),
            human_bytes(size(record)),
            format::ago(record.last_used_at.as_ref()),
        ]);
    }
    format::table(&rows)
}

fn details(record: &control::UsageRecord) -> String {
    let mut rows = vec![
        vec!["ID:".to_owned(), record.id.clone()],
        vec![
            "Created at:".to_owned(),
            shown_time(record.created_at.as_ref()),
        ],
        vec!["Mutable:".to_owned(), record.mutable.to_string()],
        vec!["Reclaimable:".to_owned(), (!record.in_use).to_string()],
        vec!["Shared:".to_owned(), record.shared.to_string()],
        vec!["Size:".to_owned(), human_bytes(size(record))],
        vec!["Description:".to_owned(), record.description.clone()],
        vec!["Usage count:".to_owned(), record.usage_count.to_string()],
        vec![
            "Last used:".to_owned(),
            format::ago(record.last_used_at.as_ref()),
        ],
        vec!["Type:".to_owned(), record.record_type.clone()],
    ];
    for parent in &record.parents {
        rows.push(vec!["Parent:".to_owned(), parent.clone()]);
    }
    rows.retain(|row| !row[1].is_empty());
    format!("{}\n", format::table(&rows))
}

fn shown_time(stamp: Option<&prost_types::Timestamp>) -> String {
    format::time_json(stamp)
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn totals(records: &[control::UsageRecord]) {
    let mut rows = Vec::new();
    let shared = total(records, |record| record.shared);
    if shared > 0 {
        rows.push(vec!["Shared:".to_owned(), human_bytes(shared)]);
        let private = total(records, |record| !record.shared);
        rows.push(vec!["Private:".to_owned(), human_bytes(private)]);
    }
    let free = total(records, |record| !record.in_use);
    rows.push(vec!["Reclaimable:".to_owned(), human_bytes(free)]);
    rows.push(vec![
        "Total:".to_owned(),
        human_bytes(total(records, |_| true)),
    ]);
    report::text_result(&format::table(&rows));
}

fn total(records: &[control::UsageRecord], counts: impl Fn(&control::UsageRecord) -> bool) -> u64 {
    let counted = records.iter().filter(|record| counts(record));
    counted.map(size).fold(0, u64::saturating_add)
}

fn size(record: &control::UsageRecord) -> u64 {
    u64::try_from(record.size).unwrap_or_default()
}

/// The names are those of BuildKit's own client.
fn json(record: &control::UsageRecord) -> Value {
    json!({
        "id": record.id,
        "mutable": record.mutable,
        "inUse": record.in_use,
        "size": record.size,
        "createdAt": format::time_json(record.created_at.as_ref()),
        "lastUsedAt": format::time_json(record.last_used_at.as_ref()),
        "usageCount": record.usage_count,
        "parents": record.parents,
        "description": record.description,
        "recordType": record.record_type,
        "shared": record.shared,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, size: i64, shared: bool) -> control::UsageRecord {
        control::UsageRecord {
            id: id.to_owned(),
            size,
            shared,
            mutable: shared,
            ..control::UsageRecord::default()
        }
    }

    #[test]
    fn records_are_listed() {
        let records = [record("a", 4200, false), record("b", -1, true)];
        assert_eq!(
            listed(&records),
            "ID  RECLAIMABLE  SIZE    LAST ACCESSED\na   true         4.20kB\nb*  true         0B\n"
        );
        assert_eq!(total(&records, |_| true), 4200);
        assert_eq!(
            total(
                &[
                    record("x", i64::MAX, false),
                    record("y", i64::MAX, false),
                    record("z", i64::MAX, false)
                ],
                |_| true
            ),
            u64::MAX
        );
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        let text = details(&record("a", 1, true));
        assert!(
            text.starts_with("ID:           a\nMutable:      true\n"),
            "{text}"
        );
        assert!(!text.contains("Description"), "{text}");
    }
}
