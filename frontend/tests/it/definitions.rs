//! What definitions look like: narrowing, names, stages that are left out, limits.

use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_frontend::MAX_DOCKERFILE_BYTES;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::ResultRefs;
use lamina_llb::missing_key;
use lamina_proto::pb;

use crate::bridge::RecordingBridge;
use crate::bridge::ops;
use crate::bridge::sources;

async fn build(bridge: RecordingBridge) -> (Arc<RecordingBridge>, Result<BuildResult, BuildError>) {
    let bridge = Arc::new(bridge);
    let result = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    (bridge, result)
}

async fn definition(dockerfile: &str, options: &[(&str, &str)]) -> pb::Definition {
    let (bridge, result) = build(RecordingBridge::of(dockerfile, options)).await;
    result.expect("builds");
    bridge.result().expect("a definition is solved")
}

async fn error(dockerfile: &str) -> BuildError {
    let (_, result) = build(RecordingBridge::of(dockerfile, &[])).await;
    result.err().expect("fails")
}

fn names(definition: &pb::Definition) -> Vec<String> {
    let named = definition.metadata.values();
    let mut names: Vec<String> = named
        .filter_map(|metadata| metadata.description.get("llb.customname").cloned())
        .collect();
    names.sort();
    names
}

/// Row FDF-47: only the paths that needed stages use are asked of the client.
#[tokio::test]
async fn the_context_is_narrowed_to_the_paths_in_use() {
    let file = "FROM scratch AS unused\nCOPY c /\nFROM scratch\nCOPY a b/x /\n";
    let sources = sources(&definition(file, &[]).await);
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].identifier, "local://context");
    assert_eq!(sources[0].attrs["local.followpaths"], r#"["a","b/x"]"#);

    let whole = definition("FROM scratch\nCOPY . /\n", &[]).await;
    assert!(
        !crate::bridge::sources(&whole)[0]
            .attrs
            .contains_key("local.followpaths")
    );
}

/// Row FDF-47: a source that the ignore file leaves out carries the reason, should it be missed.
#[tokio::test]
async fn sources_that_are_ignored_know_the_line() {
    let file = "FROM scratch\nCOPY app/x kept /\nADD --unpack=false ./log /\n";
    let mut bridge = RecordingBridge::of(file, &[]);
    bridge.add("context", ".dockerignore", b"# built\n/log\napp\n");
    let (bridge, result) = build(bridge).await;
    result.expect("builds");
    let definition = bridge.result().expect("a definition is solved");
    let described = definition.metadata.values();
    let mut reasons: Vec<_> = described
        .flat_map(|metadata| metadata.description.clone())
        .filter(|(key, _)| key != "llb.customname")
        .collect();
    reasons.sort();
    let reason = |path: &str, reason: &str| (missing_key(path), reason.to_owned());
    let wanted = [
        reason(
            "/app/x",
            "COPY app/x: app/x was excluded by .dockerignore line 3",
        ),
        reason(
            "/log",
            "ADD ./log: ./log was excluded by .dockerignore line 2",
        ),
    ];
    assert_eq!(reasons, wanted);
}

/// A named context is narrowed to what is copied from it, and not if a step could read all of it.
#[tokio::test]
async fn named_contexts_are_narrowed_too() {
    let file = "FROM scratch\nCOPY --from=other d/e /\n";
    let options = [("context:other", "local:dir")];
    let narrowed = sources(&definition(file, &options).await);
    assert_eq!(narrowed[0].identifier, "local://dir");
    assert_eq!(narrowed[0].attrs["local.followpaths"], r#"["d/e"]"#);

    let whole = sources(&definition("FROM other\nRUN x\n", &options).await);
    assert!(!whole[0].attrs.contains_key("local.followpaths"));
}

/// Row DFL-07.
#[tokio::test]
async fn steps_have_names() {
    let file =
        "FROM scratch AS one\nARG A=1\nRUN echo $A $B\nFROM scratch\nCOPY --from=one /x /y\n";
    let definition = definition(file, &[]).await;
    let expected = [
        "[one 1/1] RUN echo 1 $B",
        "[stage-1 1/1] COPY --from=one /x /y",
    ];
    assert_eq!(names(&definition), expected);
}

/// Rows LLB-13, LLB-14: every step points at its lines.
#[tokio::test]
async fn steps_have_locations() {
    let definition = definition("FROM scratch\nRUN a \\\n  b\n", &[]).await;
    let source = definition.source.expect("has a source map");
    assert_eq!(source.infos[0].filename, "Dockerfile");
    let locations = source
        .locations
        .values()
        .next()
        .expect("the step has a location");
    let lines: Vec<i32> = locations.locations[0]
        .ranges
        .iter()
        .filter_map(|range| range.start.as_ref().map(|position| position.line))
        .collect();
    assert_eq!(lines, [2, 3]);
}

#[tokio::test]
async fn several_platforms_give_a_map() {
    let bridge = RecordingBridge::of("FROM scratch\n", &[("platform", "linux/amd64,linux/arm64")]);
    let (_, result) = build(bridge).await;
    let result = result.expect("builds");
    assert!(matches!(&result.refs, ResultRefs::Map(refs) if refs.len() == 2));
    assert!(
        result
            .metadata
            .contains_key("containerimage.config/linux/arm64")
    );
}

#[tokio::test]
async fn the_base_images_config_is_inherited() {
    let mut bridge = RecordingBridge::of("FROM alpine\nENV B=2\nRUN x\n", &[]);
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Cmd":["sh"]},
        "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    bridge.images.insert(
        "docker.io/library/alpine:latest".to_owned(),
        config.to_vec(),
    );
    let (bridge, result) = build(bridge).await;
    let metadata = result.expect("builds").metadata;
    let image: serde_json::Value =
        serde_json::from_slice(&metadata["containerimage.config"]).expect("the config is JSON");
    assert_eq!(image["config"]["Cmd"][0], "sh");
    assert_eq!(image["config"]["Env"][0], "A=1");
    assert!(metadata.contains_key("containerimage.base.config"));
    let definition = bridge.result().expect("a definition is solved");
    let source = &sources(&definition)[0].identifier;
    assert!(source.starts_with("docker-image://docker.io/library/alpine:latest@sha256:"));
    let meta = ops(&definition).into_iter().find_map(|op| match op.op {
        Some(pb::op::Op::Exec(exec)) => exec.meta,
        _ => None,
    });
    let env = meta.expect("a process").env;
    assert_eq!(env[0], "A=1");
    assert!(env.contains(&"B=2".to_owned()));
}

#[tokio::test]
async fn unknown_images_get_a_suggestion() {
    let error = error("FROM alpin\n").await;
    assert_eq!(error.message, "alpin: no such image (did you mean alpine?)");
    assert_eq!(error.sources[0].ranges.len(), 1);
}

#[tokio::test]
async fn a_huge_dockerfile_is_refused_with_the_number() {
    let line = "# 23456789 123456789 123456789 123456789 123456789 123456789 12\n";
    let lines = MAX_DOCKERFILE_BYTES / line.len() as u64 + 1;
    let huge = line.repeat(usize::try_from(lines).expect("fits"));
    let error = error(&huge).await;
    assert_eq!(
        error.message,
        "the Dockerfile is larger than 10485760 bytes"
    );
}

#[tokio::test]
async fn what_the_engine_lacks_is_named_with_its_line() {
    for (line, cap, feature) in [
        ("ADD http://h/x /", "source.http", "ADD of a URL"),
        (
            "ADD https://h/x.git /",
            "source.git",
            "ADD of a git repository",
        ),
        (
            "RUN --mount=type=ssh x",
            "exec.mount.ssh",
            "RUN --mount=type=ssh",
        ),
        (
            "COPY --parents a /",
            "file.copy.requiredpaths",
            "COPY --parents of a plain path",
        ),
    ] {
        let mut bridge = RecordingBridge::of(&format!("FROM scratch\n{line}\n"), &[]);
        bridge.lacks.push(cap.to_owned());
        let (_, result) = build(bridge).await;
        let error = result.err().expect(line);
        assert_eq!(
            error.message,
            format!("{feature} is not supported by this engine")
        );
        let range = &error.sources[0].ranges[0];
        assert_eq!(
            range.start.as_ref().map(|position| position.line),
            Some(2),
            "{line}"
        );
    }
}

/// Rows FDF-02, FDF-36, FDF-41: a context from git, and its commit's time for everything.
#[tokio::test]
async fn a_context_from_git_gives_its_time() {
    let file = "FROM scratch\nCOPY a /\n";
    let context = "https://h.test/x.git#v1:sub";
    let mut bridge = RecordingBridge::of(
        file,
        &[
            ("context", context),
            ("dockerfilekey", "dockerfile"),
            ("build-arg:SOURCE_DATE_EPOCH", "context"),
            ("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "1"),
        ],
    );
    bridge.commit = Some(b"tree x\ncommitter a <b> 1700000000 +0000\n\nm\n".to_vec());
    let (bridge, result) = build(bridge).await;
    let result = result.expect("builds");
    let epoch = result.metadata.get("source.date.epoch");
    assert_eq!(epoch.map(Vec::as_slice), Some(&b"1700000000"[..]));
    let sources = sources(&bridge.result().expect("a definition is solved"));
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].identifier, "git://h.test/x.git#v1:sub");
    for (name, value) in [
        ("fullurl", "https://h.test/x.git"),
        ("mtime", "commit"),
        ("keepgitdir", "true"),
        ("authtokensecret", "GIT_AUTH_TOKEN"),
        ("authheadersecret", "GIT_AUTH_HEADER"),
    ] {
        assert_eq!(sources[0].attrs[&format!("git.{name}")], value, "{name}");
    }
}

#[tokio::test]
async fn circles_are_refused() {
    let file = "FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY --from=a /x /\n";
    let error = error(file).await;
    assert_eq!(error.message, "circular dependency detected on stage: a");
}

/// Row FDF-09: a platform that is asked for twice is built once, with a warning.
#[tokio::test]
async fn a_repeated_platform_is_built_once() {
    let option = ("platform", "linux/arm64,linux/amd64,linux/aarch64");
    let (bridge, result) = build(RecordingBridge::of("FROM scratch\n", &[option])).await;
    let ResultRefs::Map(refs) = result.expect("builds").refs else {
        panic!("one result");
    };
    assert_eq!(
        refs.keys().collect::<Vec<_>>(),
        ["linux/amd64", "linux/arm64"]
    );
    let warnings = bridge.warnings.lock().expect("no test panics with it");
    let texts: Vec<&str> = warnings
        .iter()
        .map(|warning| warning.short.as_str())
        .collect();
    assert_eq!(
        texts,
        ["Duplicate platform result requested \"linux/arm64\""]
    );
}

/// Row DFL-07: a step that sees that it builds for another platform says so in its name.
#[tokio::test]
async fn steps_that_build_for_another_platform_are_named_so() {
    let file = "FROM --platform=$BUILDPLATFORM base AS b\nCOPY a /\nARG TARGETARCH\n\
                COPY b /\nFROM scratch\nCOPY --from=b /a /\n";
    let options = [
        ("platform", "linux/arm64"),
        ("multi-platform", "true"),
        ("context:base", "local:base"),
    ];
    let definition = definition(file, &options).await;
    let steps: Vec<String> = names(&definition)
        .into_iter()
        .filter(|name| name.starts_with("[linux"))
        .collect();
    assert_eq!(
        steps,
        [
            "[linux/amd64 b 1/3] COPY a /",
            "[linux/amd64->arm64 b 2/3] COPY b /",
            "[linux/arm64 stage-1 1/1] COPY --from=b /a /",
        ]
    );
}

/// Row DFI-24: nothing behind the pivot, or nothing but a dot, stands for all there is.
#[tokio::test]
async fn parents_of_everything_copy_everything() {
    for (source, from) in [(".", "/"), ("d/./", "/d")] {
        let file = format!("FROM scratch\nCOPY --parents {source} /o/\n");
        let definition = definition(&file, &[]).await;
        let copies = ops(&definition)
            .into_iter()
            .filter_map(|op| match op.op {
                Some(pb::op::Op::File(file)) => file.actions.into_iter().next()?.action,
                _ => None,
            })
            .collect::<Vec<_>>();
        let [pb::file_action::Action::Copy(copy)] = &copies[..] else {
            panic!("{copies:?}");
        };
        assert_eq!(copy.src, from, "{source}");
        assert!(copy.include_patterns.is_empty() && copy.required_paths.is_empty());
    }
}
