//! `tar` (rows ELO-08 and ELO-09).

use lamina_exporters::ExportInput;
use lamina_snapshotter::LayerStack;

use crate::support::Fixture;

fn names(path: &std::path::Path) -> Vec<String> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("is there"));
    let entries = archive.entries().expect("is a tar");
    entries
        .map(|entry| {
            let entry = entry.expect("is well formed");
            let time = entry.header().mtime().expect("has a time");
            format!("{} {time}", entry.path().expect("is a path").display())
        })
        .collect()
}

#[tokio::test]
async fn a_tree_becomes_one_tar() {
    let fixture = Fixture::new();
    let (path, response) = fixture.to_file("tar", "", "t.tar", &fixture.result()).await;
    assert!(response.is_empty());
    let time = "1000000000";
    let wanted = ["bin/", "bin/tool", "etc/", "etc/name", "link"];
    assert_eq!(names(&path), wanted.map(|name| format!("{name} {time}")));
    let (path, _) = fixture
        .to_file("tar", "source-date-epoch=7", "t.tar", &fixture.result())
        .await;
    assert_eq!(names(&path), wanted.map(|name| format!("{name} 7")));
}

#[tokio::test]
async fn an_empty_result_is_an_empty_tar() {
    let fixture = Fixture::new();
    let input = ExportInput::single(LayerStack::empty());
    let (path, _) = fixture.to_file("tar", "", "t.tar", &input).await;
    assert_eq!(std::fs::read(path).expect("is there"), vec![0; 1024]);
}
