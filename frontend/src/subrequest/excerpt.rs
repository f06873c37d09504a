//! The marked lines of a file, as answers show them (row ERR-02).

use std::fmt::Write as _;

use lamina_proto::pb;

use crate::lines::Lines;

/// Lines shown on either side of a single marked one.
const AROUND_ONE: usize = 2;

/// Lines shown on either side of several marked ones.
const AROUND_SEVERAL: usize = 1;

/// Returns the lines with some around them; nothing if the file has no such lines.
pub(super) fn excerpt(file: &pb::SourceInfo, marked: Lines) -> String {
    let text = String::from_utf8_lossy(&file.data);
    let lines: Vec<&str> = text.split('\n').collect();
    let (first, last) = (marked.first as usize, marked.last as usize);
    if first < 1 || first > lines.len() {
        return String::new();
    }
    let around = if first == last {
        AROUND_ONE
    } else {
        AROUND_SEVERAL
    };
    let begin = first.saturating_sub(around).max(1);
    let end = last.saturating_add(around).min(lines.len());
    let rule = "-".repeat(20);
    let mut shown = format!("{}:{first}\n{rule}\n", file.filename);
    for (line, number) in lines[begin - 1..end].iter().zip(begin..) {
        let mark = if (first..=last).contains(&number) {
            ">>>"
        } else {
            "   "
        };
        writeln!(shown, " {number:3} | {mark} {line}").expect("a string takes everything");
    }
    shown + &rule + "\n"
}
