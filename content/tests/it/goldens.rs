//! BuildKit's results for archives that ADD unpacks (`tests/goldens/dockerfile`, group `add`).

use serde_json::Value;

use crate::archives::add;
use crate::support::is_root;
use crate::support::report;

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/goldens/dockerfile/cases.jsonl"
);

/// BuildKit takes `..` at the root for the root (docs/differences.md).
const REFUSED_HERE: &str = "add/tar-dotdot";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn tar_of(entries: &Value) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries.as_array().into_iter().flatten() {
        let (path, data, link) = (
            text(entry, "path"),
            text(entry, "data"),
            text(entry, "link"),
        );
        let (kind, mode) = match (path.ends_with('/'), link.is_empty()) {
            (true, _) => (tar::EntryType::Directory, 0o755),
            (_, false) => (tar::EntryType::Symlink, 0o777),
            _ => (tar::EntryType::Regular, 0o644),
        };
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        let given = entry["mode"].as_str();
        let mode = given.map_or(mode, |mode| u32::from_str_radix(mode, 8).expect("is octal"));
        header.set_mode(mode);
        header.set_uid(entry["uid"].as_u64().unwrap_or(0));
        header.set_gid(entry["gid"].as_u64().unwrap_or(0));
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, data.as_bytes()).expect("writes");
    }
    builder.into_inner().expect("writes")
}

/// The rows of a tree in the form of `listing`, without what goldens leave out.
fn wanted(tree: &Value) -> Vec<String> {
    let row = |row: &Value| {
        let kind = match text(row, "type") {
            "dir" => "Directory",
            "symlink" => "Symlink",
            _ => "File",
        };
        let mode = u32::from_str_radix(text(row, "mode"), 8).expect("is octal");
        let link = text(row, "link");
        let detail = if link.is_empty() {
            text(row, "data").to_owned()
        } else {
            format!("-> {link}")
        };
        let path = text(row, "path");
        format!(
            "{path} {kind} {mode:o} {}:{} {detail}",
            row["uid"], row["gid"]
        )
    };
    tree.as_array().into_iter().flatten().map(row).collect()
}

fn found(line: &str) -> String {
    let mut words = line.splitn(6, ' ');
    let head: Vec<&str> = words.by_ref().take(4).collect();
    let detail = line.split_once("{} ").map_or("", |(_, detail)| detail);
    format!("{} {detail}", head.join(" "))
}

/// Cases whose only source is one archive that goes to `/o`.
fn archive_of(case: &Value) -> Option<&Value> {
    let plain = matches!(
        text(case, "dockerfile"),
        "FROM scratch\nADD t.tar /o\n" | "FROM scratch\nADD t.tar /o/\n"
    );
    let file = case["files"]
        .as_array()?
        .iter()
        .find(|file| file["tar"].is_array())?;
    (plain && text(case, "group") == "add").then_some(&file["tar"])
}

#[test]
fn archives_unpack_as_in_buildkit() {
    if !is_root("archives_unpack_as_in_buildkit") {
        return;
    }
    let Ok(cases) = std::fs::read_to_string(CASES) else {
        report("archives_unpack_as_in_buildkit skipped: no goldens");
        return;
    };
    let mut checked = 0;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("is JSON");
        let Some(entries) = archive_of(&case) else {
            continue;
        };
        let name = text(&case, "name");
        checked += 1;
        if name == REFUSED_HERE {
            let refused = add(&tar_of(entries), None).map(|_| ());
            refused.expect_err("a name that leads out of the archive");
            continue;
        }
        match add(&tar_of(entries), None) {
            Err(_) => assert!(case["error"].is_object(), "{name} fails"),
            Ok(None) => assert_eq!(entries.as_array().map(Vec::len), Some(0), "{name}"),
            Ok(Some(lines)) => {
                assert!(case["error"].is_null(), "{name} should fail");
                let lines: Vec<String> = lines.iter().map(|line| found(line)).collect();
                assert_eq!(lines, wanted(&case["result"]["tree"]), "{name}");
            }
        }
    }
    assert!(checked >= 5, "only {checked} cases apply");
}
