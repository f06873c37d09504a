//! The golden data for those who may not make devices: fifos in their place, in the trees that the
//! definitions bring along and in the results.

use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use serde_json::Value;

const BLOCK: usize = 512;
const KIND: usize = 156;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const NUMBERS: std::ops::Range<usize> = 329..345;

/// Replaces devices in the archives that `op` writes.
pub(crate) fn replace_in_op(op: &mut pb::Op) {
    if let Some(pb::op::Op::File(file)) = &mut op.op {
        for action in &mut file.actions {
            if let Some(Action::Mkfile(mkfile)) = &mut action.action {
                replace_in_tar(&mut mkfile.data);
            }
        }
    }
}

fn replace_in_tar(tar: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        let size = String::from_utf8_lossy(&header[SIZE]).into_owned();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        if header[KIND] == b'3' {
            header[KIND] = b'6';
            header[NUMBERS].fill(0);
            header[CHECKSUM].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// Replaces devices in a result.
pub(crate) fn replace_in_case(case: &mut Value) {
    for row in case["tree"].as_array_mut().into_iter().flatten() {
        if row["type"] == "char" {
            row["type"] = "fifo".into();
            row.as_object_mut().expect("a row").remove("dev");
        }
    }
}
