//! What processes see and leave (rows EXC-01 to EXC-28, EXC-34, EXC-39). Steps judge themselves: a
//! script that does not find what it should ends with an error, and so does the build.

mod caches;
mod clients;
mod devices;
mod limits;
mod mounts;

pub(crate) use caches::are_shared_private_or_locked;
pub(crate) use caches::are_waited_for_in_sight;
pub(crate) use caches::begin_as_their_seed;
pub(crate) use caches::outlive_builds_and_stay_out_of_results;
pub(crate) use clients::secrets_are_files_and_variables;
pub(crate) use devices::are_given_by_name;
pub(crate) use limits::ends_are_judged;
pub(crate) use limits::keys_leave_out_what_does_not_count;
pub(crate) use limits::resources_are_metadata;
pub(crate) use mounts::are_what_the_op_says;
pub(crate) use mounts::that_cannot_be_are_refused;

use lamina_llb::Build;
use lamina_llb::BuildError;
use lamina_llb::Reference;
use lamina_proto::pb;
use lamina_proto::pb::op::Op;
use lamina_snapshotter::Follow;
use lamina_types::Digest;
use lamina_types::RootedPath;

use crate::graph;
use crate::graph::Ops;
use crate::world;

/// A script on the base, with further mounts.
fn step(script: &str, mounts: Vec<pb::Mount>) -> pb::Definition {
    changed(script, |op| op.mounts.extend(mounts))
}

/// A script on the base, in an op that `change` completes.
fn changed(script: &str, change: impl FnOnce(&mut pb::ExecOp)) -> pb::Definition {
    let (mut ops, base) = tools();
    let mut op = shell(script);
    change(&mut op);
    ops.add(Op::Exec(op), &[base]);
    ops.definition()
}

/// Programs that scripts use.
const TOOLS: [&str; 12] = [
    "cat", "echo", "grep", "head", "id", "ls", "mkdir", "rm", "sleep", "stat", "tail", "touch",
];

/// The base with programs, and the index of the op that makes it.
fn tools() -> (Ops, usize) {
    let mut ops = Ops::with_base();
    let link = |name: &&str| graph::symlink(&format!("/bin/{name}"), graph::BUSYBOX);
    let links = TOOLS.iter().map(link).collect();
    let base = ops.add(graph::file_on(0, links), &[0]);
    (ops, base)
}

/// Returns the digest of the script of [`changed`].
fn digest(definition: &pb::Definition) -> Digest {
    // The base, its programs, the script, the terminal.
    Digest::of(&definition.def[2])
}

/// A shell that ends with the first command that fails.
fn shell(script: &str) -> pb::ExecOp {
    graph::shell(&format!("set -e; {script}"))
}

/// A mount of nothing at `dest` that is no output.
fn mount(dest: &str) -> pb::Mount {
    pb::Mount {
        dest: dest.to_owned(),
        input: -1,
        output: -1,
        ..pb::Mount::default()
    }
}

async fn built(build: &Build, definition: pb::Definition) -> Reference {
    let solved = world::solve(build, definition).await;
    solved.expect("built").expect("not scratch")
}

async fn refused(build: &Build, definition: pb::Definition) -> BuildError {
    world::solve(build, definition).await.expect_err("fails")
}

/// Says which of `paths` a result has.
async fn has(build: &Build, result: &Reference, paths: &[&str]) -> Vec<bool> {
    let tree = build.evaluate(result).await.expect("is there");
    let tree = tree.stack().tree();
    let has = |path: &&str| tree.lookup(&RootedPath::new(path), Follow::Last).is_ok();
    paths.iter().map(has).collect()
}

/// The definition `ops`, with output number `output` of its last op as the result.
fn with_output(ops: Ops, output: i64) -> pb::Definition {
    use prost::Message as _;
    let mut definition = ops.definition();
    let last = definition.def.pop().expect("the terminal");
    let mut terminal = pb::Op::decode(&*last).expect("an op");
    terminal.inputs[0].index = output;
    definition.def.push(terminal.encode_to_vec());
    definition
}
