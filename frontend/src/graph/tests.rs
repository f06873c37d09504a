//! Definitions: order, digests, merging of equal vertices.

use super::*;

fn decoded(definition: &pb::Definition) -> Vec<pb::Op> {
    let decode = |bytes: &Vec<u8>| pb::Op::decode(&bytes[..]).expect("decodes");
    definition.def.iter().map(decode).collect()
}

#[test]
fn scratch_is_an_empty_definition() {
    assert_eq!(
        Graph::default().into_definition(None, None),
        pb::Definition::default()
    );
}

#[test]
fn inputs_come_first_and_the_terminal_vertex_last() {
    let mut graph = Graph::default();
    let base = Output::of(graph.add(image("docker.io/library/a:1", None, "default")));
    let _unused = graph.add(image("docker.io/library/b:1", None, "default"));
    let mut file = FileBuilder::new(Some(base));
    file.make_dir("/x", 0o755, None, true, None);
    let result = Output::of(graph.add(file.finish().at(Some(Lines::new(2, 3)))));

    let info = pb::SourceInfo::default();
    let definition = graph.into_definition(Some(result), Some(&info));
    let ops = decoded(&definition);
    assert_eq!(ops.len(), 3, "the unused vertex is left out");
    assert_eq!(
        ops[1].inputs[0].digest,
        Digest::of(&definition.def[0]).to_string()
    );
    assert!(ops[2].op.is_none());
    let source = definition.source.expect("has a source");
    let digest = Digest::of(&definition.def[1]).to_string();
    assert_eq!(source.locations[&digest].locations[0].ranges.len(), 2);
}

#[test]
fn equal_vertices_are_one_with_all_that_is_said_of_them() {
    let mut graph = Graph::default();
    let one = graph.add(image("docker.io/library/a:1", None, "default").named("first"));
    let two = graph.add(image("docker.io/library/a:1", None, "default").ignoring_cache(true));
    let mut file = FileBuilder::new(Some(Output::of(one)));
    file.copy(Some(Output::of(two)), "/", "/x", CopyOptions::default());
    let result = Output::of(graph.add(file.finish()));
    let definition = graph.into_definition(Some(result), None);
    assert_eq!(definition.def.len(), 3);
    let merged = &definition.metadata[&Digest::of(&definition.def[0]).to_string()];
    assert!(merged.ignore_cache);
    assert_eq!(merged.description["llb.customname"], "first");
}

#[test]
fn marshalling_is_deterministic() {
    let build = || {
        let mut graph = Graph::default();
        let source = LocalSource {
            name: "context".to_owned(),
            session: "s".to_owned(),
            follow: vec!["a".to_owned()],
            ..LocalSource::default()
        };
        let context = Output::of(graph.add(local(&source)));
        graph.into_definition(Some(context), None)
    };
    assert_eq!(build().encode_to_vec(), build().encode_to_vec());
}

#[test]
fn owners() {
    use pb::user_opt::User;
    let shown = |side: Option<pb::UserOpt>| match side.and_then(|side| side.user) {
        Some(User::ById(id)) => id.to_string(),
        Some(User::ByName(name)) => name.name,
        None => "-".to_owned(),
    };
    for (text, user, group) in [
        ("10", "10", "-"),
        ("10:", "10", "0"),
        (":7", "0", "7"),
        ("root:app", "0", "app"),
        ("app", "app", "-"),
    ] {
        let owner = owner(text);
        assert_eq!(
            (shown(owner.user), shown(owner.group)),
            (user.to_owned(), group.to_owned())
        );
    }
}
