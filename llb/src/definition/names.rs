//! How vertices are called in progress and messages (rows LLB-08, LLB-15).

use lamina_fileops::Action;
use lamina_proto::pb;
use lamina_types::without_credentials;

use super::Link;
use super::Node;
use crate::model::Operand;
use crate::model::Step;

const CUSTOM_NAME: &str = "llb.customname";

/// Longest name that is made up. Names of merges hold those of their inputs, so without a limit a
/// small graph could have a name of gigabytes.
const MAX_BYTES: usize = 4 << 10;

/// Returns the client's name for the vertex, or one made of what it does. Watchers and the history
/// see it, so no URL in it shows credentials.
pub(super) fn name(
    step: &Step,
    metadata: &pb::OpMetadata,
    inputs: &[Link],
    nodes: &[Node],
) -> String {
    if let Some(name) = metadata.description.get(CUSTOM_NAME) {
        return without_credentials(name).into_owned();
    }
    let input = |input: usize| inputs.get(input).map_or("", |link| &nodes[link.node].name);
    // Shortened last: half of a URL would not be known for one.
    shorten(without_credentials(&default_name(step, input)).into_owned())
}

fn default_name<'a>(step: &Step, input: impl Fn(usize) -> &'a str) -> String {
    let side = |operand| match operand {
        Operand::Input(at) => format!("({})", input(at)),
        _ => "scratch".to_owned(),
    };
    match step {
        Step::Source(source) => source.identifier.clone(),
        Step::Exec(exec) => exec.command(),
        Step::File(file) => {
            let names = file
                .actions
                .iter()
                .map(|action| action_name(&action.action));
            names.collect::<Vec<_>>().join(", ")
        }
        Step::Build(_) => "build".to_owned(),
        Step::Merge(merge) => {
            let names = merge.inputs.iter().filter_map(|operand| match operand {
                Operand::Input(at) => Some(input(*at)),
                _ => None,
            });
            format!("merge ({})", names.collect::<Vec<_>>().join(", "))
        }
        Step::Diff(diff) => format!("diff {} -> {}", side(diff.lower), side(diff.upper)),
        Step::Passthrough(passthrough) => format!("passthrough {}", passthrough.id),
    }
}

fn action_name(action: &Action) -> String {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    match action {
        Action::Copy(op) => format!("copy {} {}", text(&op.source), text(&op.destination)),
        Action::MkFile(op) => format!("mkfile {}", text(&op.path)),
        Action::MkDir(op) => format!("mkdir {}", text(&op.path)),
        Action::Rm(op) => format!("rm {}", text(&op.path)),
        Action::Symlink(op) => format!("symlink {} -> {}", text(&op.path), text(&op.target)),
    }
}

fn shorten(mut name: String) -> String {
    if name.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.push('…');
    }
    name
}
