//! `lamina debug` (rows CLI-18 to CLI-20) and `lamina dial-stdio` (row CLI-17).

mod dump;

use std::process::ExitCode;

use lamina_proto::worker::BuildkitVersion;
use lamina_proto::worker::WorkerRecord;
use serde_json::Value;
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::args::DebugArgs;
use crate::args::DebugCommand;
use crate::connect;
use crate::error::CliError;
use crate::format;
use crate::format::Format;
use crate::report;
use crate::visible::visible;

/// Runs `lamina debug`.
pub(crate) async fn debug(args: DebugArgs) -> Result<ExitCode, CliError> {
    match args.command {
        DebugCommand::Workers {
            filter,
            verbose,
            format,
            connection,
        } => {
            let format = Format::parse(format.as_deref())?;
            let client = connect::connect(&connection).await?;
            workers(&client.workers(&filter).await?, format, verbose);
        }
        DebugCommand::Info { format, connection } => info(format.as_deref(), &connection).await?,
        DebugCommand::DumpLlb { file, dot } => dump::dump(file.as_deref(), dot)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn info(format: Option<&str>, connection: &ConnectionArgs) -> Result<(), CliError> {
    let format = Format::parse(format)?;
    let client = connect::connect(connection).await?;
    let version = client.info().await?;
    let workers = client.workers(&[]).await?;
    let snapshotter = workers.first().and_then(Snapshotter::of);
    match format {
        Format::Json => report::result(&info_json(&version, snapshotter).to_string()),
        Format::Table => report::text_result(&info_text(&version, snapshotter)),
    }
    Ok(())
}

/// What steps see their root through, as a worker's labels tell.
#[derive(Clone, Copy)]
struct Snapshotter<'a> {
    name: &'a str,
    /// Why it is this one; only Lamina says so.
    reason: Option<&'a str>,
}

impl<'a> Snapshotter<'a> {
    fn of(worker: &'a WorkerRecord) -> Option<Self> {
        let label = |name: &str| worker.labels.get(name).map(String::as_str);
        Some(Self {
            name: label("org.mobyproject.buildkit.worker.snapshotter")?,
            reason: label("lamina.snapshotter.reason"),
        })
    }
}

fn info_text(version: &BuildkitVersion, snapshotter: Option<Snapshotter<'_>>) -> String {
    let mut lines = vec![format!("BuildKit: {}", product(version))];
    if !version.dockerfile_version.is_empty() {
        lines.push(format!("Dockerfile: {}", version.dockerfile_version));
    }
    if let Some(Snapshotter { name, reason }) = snapshotter {
        let reason = reason.map(|reason| format!(" ({reason})"));
        lines.push(format!("Snapshotter: {name}{}", reason.unwrap_or_default()));
    }
    let lines = lines.iter().map(|line| visible(line) + "\n");
    lines.collect()
}

fn info_json(version: &BuildkitVersion, snapshotter: Option<Snapshotter<'_>>) -> Value {
    let mut info = json!({"buildkitVersion": version_json(version)});
    if let Some(Snapshotter { name, reason }) = snapshotter {
        info["snapshotter"] = json!({"name": name, "reason": reason});
    }
    info
}

fn version_json(version: &BuildkitVersion) -> Value {
    json!({
        "package": version.package,
        "version": version.version,
        "revision": version.revision,
        "dockerfileVersion": version.dockerfile_version,
    })
}

/// Returns package, version and revision in one line.
fn product(version: &BuildkitVersion) -> String {
    let BuildkitVersion {
        package,
        version,
        revision,
        ..
    } = version;
    let words = format!("{package} {version} {revision}");
    words.trim_end().to_owned()
}

fn workers(records: &[WorkerRecord], format: Format, verbose: bool) {
    match format {
        Format::Json => {
            let records = records.iter().map(worker_json).collect();
            report::result(&Value::Array(records).to_string());
        }
        Format::Table if verbose => {
            for record in records {
                report::text_result(&worker_details(record));
            }
        }
        Format::Table => {
            let mut rows = vec![format::row(["ID", "PLATFORMS"])];
            rows.extend(records.iter().map(|r| vec![r.id.clone(), platforms(r)]));
            report::text_result(&format::table(&rows));
        }
    }
}

fn platforms(record: &WorkerRecord) -> String {
    let names = record.platforms.iter().map(|platform| {
        let parts = [&platform.os, &platform.architecture, &platform.variant];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.map(String::as_str).collect::<Vec<_>>().join("/")
    });
    names.collect::<Vec<_>>().join(",")
}

fn worker_details(record: &WorkerRecord) -> String {
    let mut rows = vec![
        vec!["ID:".to_owned(), record.id.clone()],
        vec!["Platforms:".to_owned(), platforms(record)],
    ];
    if let Some(version) = &record.buildkit_version {
        rows.push(vec!["BuildKit:".to_owned(), product(version)]);
    }
    for (key, value) in &record.labels {
        rows.push(vec![format!("{key}:"), value.clone()]);
    }
    for (index, policy) in record.gc_policy.iter().enumerate() {
        rows.push(vec![
            format!("GC policy {index}:"),
            policy_json(policy).to_string(),
        ]);
    }
    format!("{}\n", format::table(&rows))
}

fn policy_json(policy: &lamina_proto::worker::GcPolicy) -> Value {
    json!({
        "all": policy.all,
        "filter": policy.filters,
        "keepDuration": policy.keep_duration,
        "reservedSpace": policy.reserved_space,
        "maxUsedSpace": policy.max_used_space,
        "minFreeSpace": policy.min_free_space,
    })
}

fn worker_json(record: &WorkerRecord) -> Value {
    let platforms = record.platforms.iter().map(|platform| {
        let mut json = json!({"architecture": platform.architecture, "os": platform.os});
        if !platform.variant.is_empty() {
            json["variant"] = Value::String(platform.variant.clone());
        }
        json
    });
    let version = record.buildkit_version.clone().unwrap_or_default();
    json!({
        "id": record.id,
        "labels": record.labels,
        "platforms": platforms.collect::<Vec<_>>(),
        "gcPolicy": record.gc_policy.iter().map(policy_json).collect::<Vec<_>>(),
        "buildkitVersion": version_json(&version),
    })
}

#[cfg(test)]
mod tests {
    use lamina_proto::pb::Platform;

    use super::*;

    #[test]
    fn workers_are_described() {
        let platform = |variant: &str| Platform {
            os: "linux".to_owned(),
            architecture: "arm".to_owned(),
            variant: variant.to_owned(),
            ..Platform::default()
        };
        let record = WorkerRecord {
            id: "w".to_owned(),
            platforms: vec![platform(""), platform("v7")],
            ..WorkerRecord::default()
        };
        assert_eq!(platforms(&record), "linux/arm,linux/arm/v7");
        assert_eq!(worker_json(&record)["platforms"][1]["variant"], "v7");
        assert_eq!(
            worker_details(&record),
            "ID:         w\nPlatforms:  linux/arm,linux/arm/v7\n\n"
        );
    }
}
