//! `lamina debug dump-llb`: shows a definition without a daemon (row CLI-20).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::IoContext as _;
use prost::Message as _;
use serde_json::Value;
use serde_json::json;

use crate::definition;
use crate::error::CliError;
use crate::report;

/// Prints the definition in `file`, or on standard input.
pub(super) fn dump(file: Option<&Path>, dot: bool) -> Result<(), CliError> {
    let definition = match file {
        None => definition::from_stdin()?,
        Some(path) => {
            let file = File::open(path).at(path.display())?;
            definition::read(file, &path.display().to_string())?
        }
    };
    let ops = ops(&definition)?;
    let text = if dot {
        graph(&ops)
    } else {
        lines(&ops, &definition)
    };
    report::text_result(&text);
    Ok(())
}

/// An op under its digest.
type NamedOp = (Digest, pb::Op);

fn ops(definition: &pb::Definition) -> Result<Vec<NamedOp>, CliError> {
    let decode = |bytes: &Vec<u8>| {
        let op = pb::Op::decode(bytes.as_slice()).map_err(CliError::BadDefinition)?;
        Ok((Digest::of(bytes), op))
    };
    definition.def.iter().map(decode).collect()
}

fn lines(ops: &[NamedOp], definition: &pb::Definition) -> String {
    let line = |(digest, op): &NamedOp| {
        let digest = digest.to_string();
        let metadata = definition.metadata.get(&digest);
        format!("{}\n", describe(&digest, op, metadata))
    };
    ops.iter().map(line).collect()
}

fn describe(digest: &str, op: &pb::Op, metadata: Option<&pb::OpMetadata>) -> Value {
    let inputs = op
        .inputs
        .iter()
        .map(|input| json!({"digest": input.digest, "index": input.index}));
    let empty = BTreeMap::new();
    let description = metadata.map_or(&empty, |metadata| &metadata.description);
    json!({
        "digest": digest,
        "op": label(op),
        "detail": detail(op),
        "inputs": inputs.collect::<Vec<_>>(),
        "description": description,
    })
}

/// Returns what kind of op it is, in a word or few.
fn label(op: &pb::Op) -> String {
    match &op.op {
        Some(pb::op::Op::Source(source)) => source.identifier.clone(),
        Some(pb::op::Op::Exec(exec)) => exec
            .meta
            .as_ref()
            .map_or_else(|| "exec".to_owned(), |meta| meta.args.join(" ")),
        Some(pb::op::Op::File(file)) => {
            let kinds = file.actions.iter().map(|action| match &action.action {
                Some(pb::file_action::Action::Copy(copy)) => {
                    format!("copy {} {}", copy.src, copy.dest)
                }
                Some(pb::file_action::Action::Mkfile(file)) => format!("mkfile {}", file.path),
                Some(pb::file_action::Action::Mkdir(dir)) => format!("mkdir {}", dir.path),
                Some(pb::file_action::Action::Rm(rm)) => format!("rm {}", rm.path),
                Some(pb::file_action::Action::Symlink(link)) => format!("symlink {}", link.newpath),
                None => "?".to_owned(),
            });
            kinds.collect::<Vec<_>>().join(", ")
        }
        Some(pb::op::Op::Build(_)) => "build".to_owned(),
        Some(pb::op::Op::Merge(_)) => "merge".to_owned(),
        Some(pb::op::Op::Diff(_)) => "diff".to_owned(),
        Some(pb::op::Op::Passthrough(_)) => "passthrough".to_owned(),
        None => "result".to_owned(),
    }
}

/// Returns everything that the op says.
fn detail(op: &pb::Op) -> String {
    op.op
        .as_ref()
        .map_or_else(String::new, |op| format!("{op:?}"))
}

fn graph(ops: &[NamedOp]) -> String {
    let mut text = String::from("digraph {\n");
    for (digest, op) in ops {
        text.push_str(&format!(
            "  {:?} [label={:?}];\n",
            digest.to_string(),
            label(op)
        ));
        for input in &op.inputs {
            text.push_str(&format!(
                "  {:?} -> {:?};\n",
                input.digest,
                digest.to_string()
            ));
        }
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> pb::Definition {
        let source = pb::Op {
            op: Some(pb::op::Op::Source(pb::SourceOp {
                identifier: "local://context".to_owned(),
                ..pb::SourceOp::default()
            })),
            ..pb::Op::default()
        };
        let bytes = source.encode_to_vec();
        let last = pb::Op {
            inputs: vec![pb::Input {
                digest: Digest::of(&bytes).to_string(),
                index: 0,
            }],
            ..pb::Op::default()
        };
        pb::Definition {
            def: vec![bytes, last.encode_to_vec()],
            ..pb::Definition::default()
        }
    }

    #[test]
    fn ops_are_lines() {
        let definition = definition();
        let ops = ops(&definition).expect("valid");
        let text = lines(&ops, &definition);
        let first: Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["op"], "local://context");
        assert_eq!(first["digest"], ops[0].0.to_string());
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn ops_are_a_graph() {
        let definition = definition();
        let ops = ops(&definition).expect("valid");
        let text = graph(&ops);
        assert!(text.contains("[label=\"local://context\"]"), "{text}");
        assert_eq!(text.matches(" -> ").count(), 1);
    }

    #[test]
    fn what_is_no_op_is_an_error() {
        let definition = pb::Definition {
            def: vec![vec![0xff]],
            ..pb::Definition::default()
        };
        assert!(ops(&definition).is_err());
    }
}
