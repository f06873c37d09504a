//! Decoding on all cores gives what one decoder gives.

use std::io::BufReader;
use std::io::Read;
use std::io::Write;

use liblzma::stream::Check;
use liblzma::stream::MtStreamBuilder;

use super::decoder;
use super::decoder_on_all_cores;

const MIB: usize = 1 << 20;

/// Bytes that hardly compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn zstd_frame(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).expect("compresses")
}

fn bzip2_stream(data: &[u8]) -> Vec<u8> {
    let mut stream = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    stream.write_all(data).expect("compresses");
    stream.finish().expect("compresses")
}

fn gzip_member(data: &[u8]) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(data).expect("compresses");
    member.finish().expect("compresses")
}

/// A stream of blocks of a MiB that say how long they are.
fn xz_stream(data: &[u8]) -> Vec<u8> {
    let mut encoder = MtStreamBuilder::new();
    encoder.threads(2).block_size(MIB as u64).preset(0);
    let encoder = encoder.check(Check::Crc32).encoder().expect("an encoder");
    let mut stream = liblzma::write::XzEncoder::new_stream(Vec::new(), encoder);
    stream.write_all(data).expect("compresses");
    stream.finish().expect("compresses")
}

fn pieces(data: &[u8], size: usize, compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    data.chunks(size).flat_map(compress).collect()
}

/// Reads to the end or an error: what was read, and whether that was all.
fn read<'a>(opened: std::io::Result<Box<dyn Read + 'a>>) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    let read = opened.and_then(|mut reader| reader.read_to_end(&mut data));
    (data, read.is_ok())
}

fn both(compressed: &[u8]) -> [(Vec<u8>, bool); 2] {
    let open = || BufReader::with_capacity(100_003, compressed);
    [read(decoder(open())), read(decoder_on_all_cores(open()))]
}

#[test]
fn all_cores_give_what_one_gives() {
    let data = noise(5 * MIB + 17);
    let skippable = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = pieces(&data, MIB, zstd_frame);
    let zeros = vec![0; 40 * MIB];
    for (name, compressed, expected) in [
        ("nothing", Vec::new(), &[][..]),
        ("plain", data.clone(), &data),
        ("gzip members", pieces(&data, MIB, gzip_member), &data),
        ("one zstd frame", zstd_frame(&data), &data),
        ("zstd frames", frames.clone(), &data),
        (
            "tiny zstd frames",
            pieces(&data[..MIB], 100, zstd_frame),
            &data[..MIB],
        ),
        (
            "a skippable frame first",
            [&skippable[..], &frames].concat(),
            &data,
        ),
        (
            "a skippable frame last",
            [&frames[..], &skippable].concat(),
            &data,
        ),
        ("a frame that grows", zstd_frame(&zeros), &zeros),
        ("bzip2 streams", pieces(&data, MIB, bzip2_stream), &data),
        ("one bzip2 stream", bzip2_stream(&data), &data),
        ("a bzip2 stream that grows", bzip2_stream(&zeros), &zeros),
        ("xz blocks", xz_stream(&data), &data),
        ("xz streams", pieces(&data, MIB, xz_stream), &data),
    ] {
        for (found, whole) in both(&compressed) {
            assert!(whole, "{name}");
            assert!(found == expected, "{name}: {} bytes", found.len());
        }
    }
}

#[test]
fn a_frame_longer_than_the_window_is_read_as_it_comes() {
    let data = noise(18 * MIB);
    let compressed = [zstd_frame(&data), zstd_frame(b"end")].concat();
    let expected = [&data[..], b"end"].concat();
    for (found, whole) in both(&compressed) {
        assert!(whole && found == expected, "{} bytes", found.len());
    }
}

#[test]
fn xz_padding_is_in_groups_of_four() {
    let stream = xz_stream(b"data");
    for (zeros, whole) in [(0, true), (3, false), (4, true), (8, true)] {
        let padded = [&stream[..], &vec![0; zeros], &stream].concat();
        for (found, read) in both(&padded) {
            assert_eq!(read, whole, "{zeros}");
            assert!(b"datadata".starts_with(&found[..]), "{zeros}");
        }
    }
}

#[test]
fn damage_is_found_behind_what_is_good() {
    let data = noise(5 * MIB);
    for (name, compressed) in [
        ("zstd", pieces(&data, MIB, zstd_frame)),
        ("bzip2", pieces(&data, MIB, bzip2_stream)),
        ("xz blocks", xz_stream(&data)),
        ("xz streams", pieces(&data, MIB, xz_stream)),
    ] {
        let cut = compressed[..compressed.len() - 9].to_vec();
        let strange = [&compressed[..], b"strange"].concat();
        for (how, damaged) in [("cut", cut), ("followed", strange)] {
            for (found, whole) in both(&damaged) {
                assert!(!whole, "{name} {how}");
                assert!(data.starts_with(&found), "{name} {how}");
            }
        }
        // Without a checksum only the other data tells.
        let mut changed = compressed.clone();
        changed[compressed.len() / 2] ^= 0x40;
        let [one, all] = both(&changed);
        assert_eq!(one.1, all.1, "{name} changed");
        assert!(!all.1 || one.0 == all.0, "{name} changed");
    }
}
