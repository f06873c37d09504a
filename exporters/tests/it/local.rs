//! `local` (rows ELO-01 to ELO-09).

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;

use lamina_exporters::ExportInput;
use lamina_snapshotter::LayerStack;

use crate::support::Fixture;
use crate::support::RESULT_FILES;
use crate::support::files_below;
use crate::support::is_root;

#[tokio::test]
async fn a_tree_becomes_files() {
    let fixture = Fixture::new();
    let path = fixture.to_directory("", "out", &fixture.result()).await;
    let path = path.expect("exports");
    assert_eq!(files_below(&path), RESULT_FILES);
    let file = std::fs::metadata(path.join("etc/name")).expect("is there");
    assert_eq!((file.mtime(), file.mode() & 0o7777), (1_000_000_000, 0o644));
    let folder = std::fs::metadata(path.join("etc")).expect("is there");
    assert_eq!(
        (folder.mtime(), folder.mode() & 0o7777),
        (1_000_000_000, 0o755)
    );
    assert_eq!(file.nlink(), 1, "layers share nothing with the user");
}

#[tokio::test]
async fn what_is_there_is_replaced_and_never_followed() {
    let fixture = Fixture::new();
    let (out, victim) = (fixture.path("out"), fixture.path("victim"));
    std::fs::create_dir_all(victim.join("etc")).expect("makes");
    std::fs::write(victim.join("file"), "precious").expect("writes");
    std::fs::create_dir_all(out.join("bin/tool/deep")).expect("makes");
    symlink(victim.join("etc"), out.join("etc")).expect("links");
    symlink(victim.join("file"), out.join("link")).expect("links");
    std::fs::write(out.join("other"), "stays").expect("writes");
    fixture
        .to_directory("", "out", &fixture.result())
        .await
        .expect("exports");
    let mut wanted = RESULT_FILES.map(str::to_owned).to_vec();
    wanted.push("/other stays".to_owned());
    assert_eq!(files_below(&out), wanted);
    assert_eq!(files_below(&victim), ["/etc/", "/file precious"]);
}

#[tokio::test]
async fn mode_delete_mirrors() {
    let fixture = Fixture::new();
    let out = fixture.path("out");
    std::fs::create_dir_all(out.join("old/deep/er")).expect("makes");
    std::fs::write(out.join("old/deep/x"), "x").expect("writes");
    std::fs::create_dir_all(out.join("etc/extra")).expect("makes");
    symlink("/nowhere", out.join("etc/l")).expect("links");
    let exported = fixture
        .to_directory("mode=delete", "out", &fixture.result())
        .await;
    assert_eq!(files_below(&exported.expect("exports")), RESULT_FILES);
}

#[tokio::test]
async fn hard_links_of_the_tree_stay_links() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&[&["a=1", "d/", "d/b=>a"]]);
    let path = fixture
        .to_directory("", "out", &ExportInput::single(stack))
        .await;
    let path = path.expect("exports");
    let inode = |name: &str| std::fs::metadata(path.join(name)).expect("is there").ino();
    assert_eq!(inode("a"), inode("d/b"));
}

#[tokio::test]
async fn the_epoch_is_the_time_of_all_files() {
    let fixture = Fixture::new();
    let exported = fixture
        .to_directory("source-date-epoch=5", "out", &fixture.result())
        .await;
    let path = exported.expect("exports");
    for name in ["etc", "etc/name", "link"] {
        let metadata = std::fs::symlink_metadata(path.join(name)).expect("is there");
        assert_eq!(metadata.mtime(), 5, "{name}");
    }
}

#[tokio::test]
async fn an_empty_result_is_an_empty_directory() {
    let fixture = Fixture::new();
    let input = ExportInput::single(LayerStack::empty());
    let path = fixture
        .to_directory("", "out", &input)
        .await
        .expect("exports");
    assert_eq!(files_below(&path), Vec::<String>::new());
}

#[tokio::test]
async fn files_belong_to_the_caller_unless_kept() {
    let fixture = Fixture::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    let (uid, gid) = match is_root() {
        true => (7, 8),
        false => (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
    };
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mode(0o4755);
    header.set_size(0);
    tar.append_data(&mut header, "f", &b""[..]).expect("writes");
    let tar = tar.into_inner().expect("writes");
    let cancel = lamina_types::CancelToken::new();
    let stack = LayerStack::empty();
    let unpacked =
        lamina_content::unpack_layer(&fixture.layers, &stack, &mut &tar[..], &cancel, &|_| {});
    let stack = stack.push(unpacked.expect("unpacks").0);
    let kept = tempfile::tempdir().expect("a folder");
    lamina_exporters::write_tree(&stack, kept.path(), &cancel).expect("writes");
    let path = fixture
        .to_directory("", "out", &ExportInput::single(stack))
        .await
        .expect("exports");
    let owner = |dir: &std::path::Path| {
        let file = std::fs::metadata(dir.join("f")).expect("is there");
        (file.uid(), file.gid(), file.mode() & 0o7777)
    };
    let caller = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    assert_eq!(owner(kept.path()), (uid, gid, 0o4755));
    assert_eq!(owner(&path), (caller.0, caller.1, 0o4755));
}
