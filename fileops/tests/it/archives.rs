//! Archives among the sources of a copy (row FIL-12).

use std::io::Write;

use lamina_fileops::CopyAction;
use lamina_snapshotter::LayerStack;

use crate::copies::copy;
use crate::copies::find;
use crate::copies::run;
use crate::machine::Machine;

#[test]
fn archives_are_unpacked_and_other_files_copied() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    {
        let mut file = root.create_file(b"a.tar", 0o644).expect("a.tar");
        file.write_all(&archive("inside", b"data")).expect("a.tar");
        let mut file = root.create_file(b"plain", 0o644).expect("plain");
        file.write_all(b"not an archive").expect("plain");
    }
    let source = machine.seal(layer).tree();
    for (name, path, wanted) in [
        ("archive", "/a.tar", "/out/inside"),
        ("plain file", "/plain", "/out"),
    ] {
        let layer = machine.on(&LayerStack::empty());
        let action = CopyAction {
            unpack_archives: true,
            ..copy(path, "/out")
        };
        run(action, &layer, &source).expect(name);
        let found = find(&layer.tree(), wanted);
        assert!(!found.stat().is_dir(), "{name}");
    }
}

/// Returns a tar with one file.
pub(crate) fn archive(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}
