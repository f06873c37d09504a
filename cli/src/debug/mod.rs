//! `lamina debug` (rows CLI-18 to CLI-20) and `lamina dial-stdio` (row CLI-17).

mod dump;

use std::process::ExitCode;

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
    let version = connect::connect(connection).await?.info().await?;
    match format {
        Format::Json => report::result(
            &json!({"buildkitVersion": {
                "package": version.package,
                "version": version.version,
                "revision": version.revision,
                "dockerfileVersion": version.dockerfile_version,
            }})
            .to_string(),
        ),
        Format::Table => {
            let words = [version.package, version.version, version.revision];
            report::result(&visible(&format!(
                "BuildKit: {}",
                words.join(" ").trim_end()
            )));
            if !version.dockerfile_version.is_empty() {
                report::result(&visible(&format!(
                    "Dockerfile: {}",
                    version.dockerfile_version
                )));
            }
        }
    }
    Ok(())
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
        let words = [
            version.package.as_str(),
            &version.version,
            &version.revision,
        ];
        rows.push(vec![
            "BuildKit:".to_owned(),
            words.join(" ").trim_end().to_owned(),
        ]);
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
        "buildkitVersion": {
            "package": version.package,
            "version": version.version,
            "revision": version.revision,
            "dockerfileVersion": version.dockerfile_version,
        },
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
