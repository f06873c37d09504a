//! What definitions look like.

use std::collections::BTreeSet;

use lamina_proto::pb;
use lamina_proto::pb::op::Op;
use lamina_types::Digest;
use prost::Message as _;

use super::NONE;
use super::State;

fn ops(state: &State) -> Vec<pb::Op> {
    let definition = state.definition();
    let decode = |bytes: &Vec<u8>| pb::Op::decode(&bytes[..]).expect("is an op");
    definition.def.iter().map(decode).collect()
}

#[test]
fn scratch_is_the_empty_definition() {
    assert_eq!(State::scratch().definition(), pb::Definition::default());
}

#[test]
fn equal_states_become_one_vertex_and_inputs_come_first() {
    let base = State::image("docker.io/library/busybox:latest");
    let left = base.mkfile("/a", 0o644, "a");
    let right = base.mkdir("/d", 0o755);
    let merged = State::merge(&[left.clone(), right, left]);
    let ops = ops(&merged);
    assert_eq!(ops.len(), 5, "image, two files, merge, terminal");
    let mut known = BTreeSet::new();
    for op in &ops {
        for input in &op.inputs {
            assert!(known.contains(&input.digest), "inputs come first");
        }
        known.insert(Digest::of(&op.encode_to_vec()).to_string());
    }
    assert_eq!(ops[3].inputs.len(), 2, "the third state is the first one");
}

#[test]
fn outputs_count_writable_mounts() {
    let run = State::scratch()
        .run(["true"])
        .mount("/read", &State::local("a"))
        .mount_writable("/write", &State::scratch())
        .secret("/run/secrets/x", "x");
    let ops = ops(&run.output(1));
    let Some(Op::Exec(exec)) = &ops[1].op else {
        panic!("an exec op");
    };
    let outputs: Vec<i64> = exec.mounts.iter().map(|mount| mount.output).collect();
    assert_eq!(outputs, [0, NONE, 1, NONE]);
    let inputs: Vec<i64> = exec.mounts.iter().map(|mount| mount.input).collect();
    assert_eq!(inputs, [NONE, 0, NONE, NONE]);
    assert_eq!(ops[2].inputs[0].index, 1);
}

#[test]
fn long_chains_do_not_recurse() {
    let mut state = State::scratch();
    for number in 0..2000 {
        state = state.mkfile("/f", 0o644, number.to_string());
    }
    assert_eq!(state.definition().def.len(), 2001);
}

#[test]
fn names_do_not_change_the_vertex() {
    let plain = State::local("context");
    let named = plain.named("load the context");
    assert_eq!(plain.vertex(), named.vertex());
    let definition = named.definition();
    let metadata = &definition.metadata[named.vertex().expect("a vertex")];
    assert_eq!(metadata.description["llb.customname"], "load the context");
}
