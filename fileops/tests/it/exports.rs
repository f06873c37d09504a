//! What copies make, as exporters write it: the tar of a tree and the tars of its layers (rows FIL-19,
//! CMP-05).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read;

use lamina_content::Compression;
use lamina_content::ContentStore;
use lamina_content::pack_layer;
use lamina_content::write_tree_tar;
use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::Owner;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::machine::Machine;
use crate::odd::capability;
use crate::sharing::stacks;

/// An entry of a tar.
#[derive(Debug, PartialEq, Eq)]
struct Exported {
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    /// Target, data, or device number.
    content: Vec<u8>,
    /// Records of attributes.
    attributes: BTreeMap<String, Vec<u8>>,
}

type Archive = BTreeMap<String, Exported>;

fn read(tar: &[u8]) -> Archive {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| exported(entry.expect("well formed")))
        .collect()
}

fn exported(mut entry: tar::Entry<'_, &[u8]>) -> (String, Exported) {
    let path = String::from_utf8(entry.path_bytes().into_owned()).expect("text");
    let extensions = entry.pax_extensions().expect("readable").into_iter();
    let attributes = extensions.flatten().filter_map(|record| {
        let record = record.expect("well formed");
        let name = record.key().expect("text").strip_prefix("SCHILY.xattr.")?;
        Some((name.to_owned(), record.value_bytes().to_vec()))
    });
    let attributes = attributes.collect();
    let header = entry.header();
    let device = header.device_major().ok().flatten();
    let mut found = Exported {
        kind: header.entry_type(),
        mode: header.mode().expect("a mode"),
        owner: (
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
        ),
        content: entry.link_name_bytes().unwrap_or_default().into_owned(),
        attributes,
    };
    match found.kind {
        tar::EntryType::Char => found.content = format!("{device:?}").into_bytes(),
        _ => {
            entry.read_to_end(&mut found.content).expect("data");
        }
    }
    (path, found)
}

/// Returns the tars that exporters write of a stack: of its tree, and of each layer.
fn archives(stack: &LayerStack) -> Vec<Archive> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ContentStore::open(folder.path()).expect("an empty store");
    let cancel = CancelToken::new();
    let mut tar = Vec::new();
    write_tree_tar(&stack.tree(), &mut tar, &cancel).expect("written");
    let mut archives = vec![read(&tar)];
    for layer in stack.layers() {
        let blob = pack_layer(&store, layer, Compression::Uncompressed, &cancel);
        let blob = blob.expect("packed");
        archives.push(read(&store.read(&blob.digest, blob.size).expect("stored")));
    }
    archives
}

#[test]
fn exports_carry_no_false_links() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for (which, stack) in stacks(&machine) {
        let mut links = BTreeSet::new();
        for archive in archives(&stack) {
            for (path, entry) in &archive {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                match entry.kind {
                    tar::EntryType::Link => {
                        let first = String::from_utf8_lossy(&entry.content).into_owned();
                        assert_eq!(
                            (name, first),
                            ("h2", format!("{folder}/h1")),
                            "{which}: {path}"
                        );
                        links.insert(path.clone());
                    }
                    tar::EntryType::Regular => {
                        let data = if name == "z" { "a" } else { name };
                        assert_eq!(entry.content, data.as_bytes(), "{which}: {path}");
                    }
                    _ => {}
                }
            }
        }
        assert!(!links.is_empty(), "{which}: the user's links are gone");
    }
}

/// Puts a program with powers, a shared folder, a device and a link of other owners into `/s`.
fn source(machine: &Machine) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let dir = root.make_dir(b"s", 0o755).expect("/s");
    drop(dir.create_file(b"prog", 0o755).expect("/s/prog"));
    drop(dir.make_dir(b"shared", 0o755).expect("/s/shared"));
    dir.symlink(b"link", b"prog").expect("/s/link");
    let mut device = Stat::new(FileKind::CharDevice, 0o666);
    (device.device.major, device.device.minor) = (1, 3);
    dir.make_node(b"null", &device).expect("/s/null");
    let powers = (b"security.capability".to_vec(), capability().to_vec());
    for (name, mode, xattrs) in [
        ("prog", Some(0o4755), Some([powers].into())),
        ("shared", Some(0o2770), None),
        ("link", None, None),
        ("null", Some(0o666), None),
    ] {
        let change = MetadataChange {
            owner: Some((1000, 1001)),
            mode,
            xattrs,
            ..MetadataChange::default()
        };
        dir.set_metadata(name.as_bytes(), &change).expect(name);
    }
    drop((root, dir));
    machine.seal(layer)
}

/// Copies `/s` to a place, for another owner if one is given.
fn copied(machine: &Machine, from: &LayerStack, owner: Option<u32>) -> LayerStack {
    let layer = machine.on(&LayerStack::empty());
    let id = |id| Some(UserRef::Id(id));
    let action = Action::Copy(CopyAction {
        source: b"/s".to_vec(),
        destination: b"/t".to_vec(),
        owner: owner.map(|number| Owner {
            user: id(number),
            group: id(number),
        }),
        ..CopyAction::default()
    });
    apply(&action, &layer, Some(&from.tree()), &CancelToken::new()).expect("copied");
    machine.seal(layer)
}

#[test]
fn owners_powers_and_devices_are_exported() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let source = source(&machine);
    for (given, owner) in [(None, (1000, 1001)), (Some(70_000), (70_000, 70_000))] {
        let stack = copied(&machine, &source, given);
        for archive in archives(&stack) {
            for (path, kind, mode) in [
                ("t/prog", tar::EntryType::Regular, 0o4755),
                ("t/shared/", tar::EntryType::Directory, 0o2770),
                ("t/link", tar::EntryType::Symlink, 0o777),
                ("t/null", tar::EntryType::Char, 0o666),
            ] {
                let found = &archive[path];
                assert_eq!((found.kind, found.owner), (kind, owner), "{path}");
                assert_eq!(found.mode & 0o7777, mode, "{path}");
            }
            assert_eq!(archive["t/link"].content, b"prog");
            assert_eq!(archive["t/null"].content, b"Some(1)");
            let powers = &archive["t/prog"].attributes["security.capability"];
            assert_eq!(powers, &capability());
            // Nothing of how the store keeps such things is exported.
            for (path, entry) in &archive {
                let own = entry
                    .attributes
                    .keys()
                    .filter(|name| *name != "security.capability");
                assert_eq!(own.count(), 0, "{path}: {:?}", entry.attributes);
            }
        }
    }
}
