//! Results for several platforms (rows RMD-03, EIM-20, ELO-02, ELO-10, EOC-05).

use std::collections::BTreeMap;

use lamina_content::Index;
use lamina_exporters::ExportInput;
use lamina_exporters::ExportRefs;
use lamina_session::LocalSession;

use crate::support::Fixture;
use crate::support::files_below;

fn two(fixture: &Fixture, second: &[&str]) -> ExportInput {
    pair(fixture, &["a=1"], second)
}

fn pair(fixture: &Fixture, first: &[&str], second: &[&str]) -> ExportInput {
    let mapping = concat!(
        r#"{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},"#,
        r#"{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]}"#
    );
    let stacks = [
        ("linux/amd64".to_owned(), fixture.stack(&[first])),
        ("linux/arm64".to_owned(), fixture.stack(&[second])),
    ];
    let mut input = ExportInput::single(lamina_snapshotter::LayerStack::empty());
    input.refs = ExportRefs::ByPlatform(BTreeMap::from(stacks));
    input
        .metadata
        .insert("refs.platforms".to_owned(), mapping.into());
    for architecture in ["amd64", "arm64"] {
        let config = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
        let key = format!("containerimage.config/linux/{architecture}");
        input.metadata.insert(key, config.into_bytes());
    }
    input
}

#[tokio::test]
async fn an_index_lists_every_platform() {
    let fixture = Fixture::new();
    let input = two(&fixture, &["b=2"]);
    let attrs = "name=multi;annotation-index.i=1;annotation[linux/arm64].m=2";
    let exported = fixture
        .export("image", attrs, LocalSession::builder(), &input)
        .await;
    let response = exported.expect("exports");
    assert!(!response.contains_key("containerimage.config.digest"));
    let digest = response["containerimage.digest"]
        .parse()
        .expect("is a digest");
    let index: Index = fixture.content.read_json(&digest).expect("is an index");
    let platforms: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|manifest| Some(manifest.platform.as_ref()?.to_string()))
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(index.annotations["i"], "1");
    let arm: lamina_content::Manifest = fixture
        .content
        .read_json(&index.manifests[1].digest)
        .expect("is a manifest");
    assert_eq!(arm.annotations["m"], "2");
}

#[tokio::test]
async fn directories_are_split_or_merged() {
    let fixture = Fixture::new();
    let input = two(&fixture, &["b=2"]);
    let split = fixture
        .to_directory("", "split", &input)
        .await
        .expect("exports");
    assert_eq!(
        files_below(&split),
        [
            "/linux_amd64/",
            "/linux_amd64/a 1",
            "/linux_arm64/",
            "/linux_arm64/b 2"
        ]
    );
    let merged = fixture
        .to_directory("platform-split=false", "merged", &input)
        .await;
    assert_eq!(files_below(&merged.expect("exports")), ["/a 1", "/b 2"]);
}

/// Row ELO-02: platforms that share a target may share directories, and nothing else.
#[tokio::test]
async fn merged_platforms_do_not_overwrite_each_other() {
    let fixture = Fixture::new();
    for (name, first, second, wanted) in [
        ("two files", &["a=1"][..], &["a=2"][..], Err("a")),
        ("a file and a link", &["a=1"], &["a->b"], Err("a")),
        (
            "a file and a directory",
            &["a=1"],
            &["a/", "a/b=2"],
            Err("a"),
        ),
        ("a directory and a file", &["a/"], &["a=2"], Err("a")),
        (
            "a directory and a link",
            &["d/", "d/a/"],
            &["d/", "d/a->b"],
            Err("d/a"),
        ),
        ("two directories", &["a/"], &["a/", "a/b=2"], Ok(())),
    ] {
        let input = pair(&fixture, first, second);
        let exported = fixture.to_directory("platform-split=false", name, &input);
        let refused = |path: &str| {
            format!(
                "cannot overwrite {path} from linux/amd64 with linux/arm64 when split option is \
                 disabled"
            )
        };
        let exported = exported.await.map(drop).map_err(|error| error.to_string());
        assert_eq!(exported, wanted.map_err(refused), "{name}");
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let fixture = Fixture::new();
    let mut input = two(&fixture, &["b=2"]);
    let docker = fixture
        .export("docker", "", LocalSession::builder(), &input)
        .await;
    assert_eq!(
        docker.expect_err("is a map").to_string(),
        "docker exporter does not currently support exporting manifest lists"
    );
    input.metadata.remove("refs.platforms");
    for kind in ["image", "oci", "local", "tar"] {
        let session = LocalSession::builder().file_target(0, fixture.path("f"));
        let error = fixture
            .export(kind, "", session, &input)
            .await
            .expect_err(kind);
        assert_eq!(
            error.to_string(),
            "unable to export multiple refs, missing platforms mapping"
        );
    }
}
