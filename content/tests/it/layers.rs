//! Layers: tar to files and back (rows CMP-03 to CMP-06).

use lamina_content::Compression;
use lamina_content::convert_layer;
use lamina_content::media_type;
use lamina_content::pack_layer;
use lamina_content::unpack_image_layer;
use lamina_content::write_tree_tar;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use lamina_types::Digest;

use crate::support::Fixture;
use crate::support::is_root;
use crate::support::listing;
use crate::support::paths;
use crate::support::tar_of;

/// One stack of layers and what it shows.
macro_rules! stack_case {
    ($name:ident: $($layer:expr),+ => $wanted:expr) => {
        #[test]
        fn $name() {
            let fixture = Fixture::new();
            let tars = [$(tar_of(&$layer)),+];
            assert_eq!(paths(&fixture.stack(&tars)), $wanted);
        }
    };
}

stack_case!(missing_parents_are_made: ["f:a/b/c=1"] => ["/a", "/a/b", "/a/b/c 1"]);
stack_case!(files_are_replaced: ["f:a=1", "d:d/", "f:d/x=2"], ["d:a/", "f:d=3"] => ["/a", "/d 3"]);
stack_case!(directories_merge: ["d:d/", "f:d/a=1"], ["d:d/", "f:d/b=2"]
    => ["/d", "/d/a 1", "/d/b 2"]);
stack_case!(whiteouts_delete: ["d:d/", "f:d/a=1", "f:b=2"], ["f:.wh.d=", "f:.wh.b=", "f:c=3"]
    => ["/c 3"]);
stack_case!(whiteouts_of_nothing_are_harmless: ["f:a=1"], ["f:.wh.zzz=", "f:d/.wh.x="]
    => ["/a 1", "/d"]);
stack_case!(opaque_first: ["d:d/", "f:d/a=1", "d:d/s/", "f:d/s/b=2"],
    ["d:d/", "f:d/.wh..wh..opq=", "d:d/s/", "f:d/s/c=3"] => ["/d", "/d/s", "/d/s/c 3"]);
stack_case!(opaque_last: ["d:d/", "f:d/a=1", "d:d/s/", "f:d/s/b=2"],
    ["d:d/", "d:d/s/", "f:d/s/c=3", "f:d/.wh..wh..opq="] => ["/d", "/d/s", "/d/s/c 3"]);
stack_case!(opaque_root: ["f:a=1", "f:b=2"], ["f:c=3", "f:.wh..wh..opq="] => ["/c 3"]);
stack_case!(whiteout_then_new_directory: ["d:d/", "f:d/a=1"], ["f:.wh.d=", "d:d/", "f:d/b=2"]
    => ["/d", "/d/b 2"]);
stack_case!(what_a_layer_makes_and_deletes_stays_deleted: ["d:d/", "d:d/s/", "f:.wh.d=", "f:a=1"]
    => ["/a 1"]);
stack_case!(hard_links_to_this_layer: ["f:a=1", "h:b=a"] => ["/a 1", "/b 1"]);
stack_case!(hard_links_to_a_lower_layer: ["f:a=1"], ["h:b=a"] => ["/a 1", "/b 1"]);
stack_case!(links_in_parents_are_followed: ["d:real/", "l:link=real"], ["f:link/x=1"]
    => ["/link -> real", "/real", "/real/x 1"]);
stack_case!(the_root_entry_is_nobodys: ["d:./", "f:./a=1"] => ["/a 1"]);

#[test]
fn owners_times_devices_and_attributes_are_kept() {
    if !is_root("owners_times_devices_and_attributes_are_kept") {
        return;
    }
    let fixture = Fixture::new();
    let mut builder = tar::Builder::new(Vec::new());
    let records = [
        ("SCHILY.xattr.user.a", &b"1\0\n"[..]),
        ("mtime", b"1500000000.25"),
        ("uid", b"3000000"),
    ];
    builder.append_pax_extensions(records).expect("writes");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o4751);
    header.set_uid(0);
    header.set_gid(7);
    header.set_size(2);
    builder
        .append_data(&mut header, "f", &b"ab"[..])
        .expect("writes");
    let mut tar = builder.into_inner().expect("writes");
    tar.truncate(tar.len() - 1024);
    tar.extend(tar_of(&["c:dev=1,3", "p:fifo", "l:s=/x"]));
    let time = 1_000_000_000_000_000_000_u64;
    let stack = fixture.stack(&[tar]);
    let shown = listing(&stack);
    assert_eq!(
        shown,
        [
            format!("/dev CharDevice 644 0:0 {time} {{}} 1,3"),
            format!(
                "/f File 4751 3000000:7 1500000000250000000 {{{:?}: {:?}}} ab",
                b"user.a", b"1\0\n"
            ),
            format!("/fifo Fifo 644 0:0 {time} {{}} "),
            format!("/s Symlink 777 0:0 {time} {{}} -> /x"),
        ]
    );
}

#[test]
fn layers_round_trip_through_every_compression() {
    let fixture = Fixture::new();
    let tars = [
        tar_of(&["d:d/", "f:d/a=1", "f:d/b=2", "h:d/c=d/a", "l:s=d", "p:p"]),
        tar_of(&["f:d/.wh.b=", "f:d/n=3"]),
    ];
    let stack = fixture.stack(&tars);
    for compression in [
        Compression::Uncompressed,
        Compression::Gzip(6),
        Compression::Zstd(3),
    ] {
        let other = Fixture::new();
        let cancel = CancelToken::new();
        let mut again = LayerStack::empty();
        for layer in stack.layers() {
            let blob = convert_layer(&fixture.content, layer, compression, &cancel);
            let blob = blob.expect("packs");
            assert_eq!(blob.media_type, compression.media_type());
            let mut data = fixture.content.open_blob(&blob.digest).expect("is there");
            let unpacked = unpack_image_layer(&other.layers, &again, &mut data, &cancel, &|_| {});
            let unpacked = unpacked.expect("unpacks");
            assert_eq!(unpacked.diff_id, blob.diff_id);
            assert!(!unpacked.opaque);
            again = again.push(unpacked.layer);
        }
        assert_eq!(listing(&again), listing(&stack), "{compression:?}");
    }
}

#[test]
fn a_pulled_layer_is_exported_byte_for_byte() {
    let fixture = Fixture::new();
    let tar = tar_of(&["f:z=1", "f:a=2"]);
    let digest = fixture.content.put(&tar).expect("stores");
    let (layer, diff_id) = fixture.unpack(&LayerStack::empty(), &tar).expect("unpacks");
    assert_eq!(diff_id, DiffId(Digest::of(&tar)));
    let pulled = LayerBlob {
        diff_id,
        digest,
        size: tar.len() as u64,
        media_type: media_type::DOCKER_LAYER.to_owned(),
    };
    layer.add_blob(pulled.clone()).expect("remembers");
    let cancel = CancelToken::new();
    let packed = pack_layer(&fixture.content, &layer, Compression::Gzip(6), &cancel);
    assert_eq!(packed.expect("is there"), pulled);
    let forced = convert_layer(&fixture.content, &layer, Compression::Zstd(3), &cancel);
    let forced = forced.expect("converts");
    assert_eq!(forced.diff_id, diff_id, "the same tar, compressed anew");
    let again = convert_layer(&fixture.content, &layer, Compression::Zstd(3), &cancel);
    assert_eq!(again.expect("is remembered"), forced);
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let data = "0123456789abcdef".repeat(1 << 18);
    let tar = tar_of(&[
        "d:d/",
        &format!("f:d/big={data}"),
        "f:small=x",
        "h:other=d/big",
    ]);
    for compression in [Compression::Gzip(6), Compression::Zstd(3)] {
        let digests = [1, 4].map(|threads| {
            let fixture = Fixture::new();
            let stack = fixture.stack(std::slice::from_ref(&tar));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads start").install(|| {
                let cancel = CancelToken::new();
                let packed = pack_layer(&fixture.content, &stack.layers()[0], compression, &cancel);
                packed.expect("packs")
            })
        });
        assert_eq!(digests[0], digests[1]);
    }
}

#[test]
fn an_empty_layer_is_a_tar_of_nothing() {
    let fixture = Fixture::new();
    let active = fixture
        .layers
        .prepare(&LayerStack::empty())
        .expect("prepares");
    let cancel = CancelToken::new();
    let layer = active.commit(&cancel).expect("seals");
    let blob = pack_layer(&fixture.content, &layer, Compression::Uncompressed, &cancel);
    assert_eq!(
        blob.expect("packs").diff_id.to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
}

#[test]
fn a_cancelled_pack_leaves_nothing() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&[tar_of(&["f:a=1"])]);
    let cancel = CancelToken::new();
    cancel.cancel();
    let packed = pack_layer(
        &fixture.content,
        &stack.layers()[0],
        Compression::Gzip(6),
        &cancel,
    );
    assert!(packed.is_err());
    let left = std::fs::read_dir(fixture.dir.path().join("content/ingest"));
    assert_eq!(left.expect("is readable").count(), 0);
}

#[test]
fn a_tree_is_one_sorted_tar() {
    let fixture = Fixture::new();
    let tars = [
        tar_of(&["d:d/", "f:d/b=1", "f:z=2", "h:y=z"]),
        tar_of(&["f:d/a=3", "f:.wh.y="]),
    ];
    let stack = fixture.stack(&tars);
    let mut tar = Vec::new();
    write_tree_tar(&stack.tree(), &mut tar, &CancelToken::new()).expect("writes");
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<String> = archive
        .entries()
        .expect("is a tar")
        .map(|entry| {
            let entry = entry.expect("is well formed");
            entry.path().expect("is a path").display().to_string()
        })
        .collect();
    assert_eq!(names, ["d/", "d/a", "d/b", "z"]);
}

#[test]
fn directories_that_a_layer_passes_through_keep_their_times() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&[
        tar_of(&["d:a/", "d:a/b/", "d:a/b/c/", "f:a/b/c/x=1", "f:a/gone=2"]),
        tar_of(&["f:a/b/c/y=3", "f:a/.wh.gone="]),
    ]);
    let tree = stack.tree();
    for path in ["/a", "/a/b", "/a/b/c"] {
        let path = lamina_types::RootedPath::new(path);
        let entry = tree.lookup(&path, lamina_snapshotter::Follow::Last);
        let time = entry.expect("is there").stat().mtime_ns;
        assert_eq!(time, 1_000_000_000_000_000_000, "{path}");
    }
}
