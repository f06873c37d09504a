//! Random trees and random damage. The seed is printed; set `LAMINA_SEED` to try another.

use lamina_content::Compression;
use lamina_content::pack_layer;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::support::Fixture;
use crate::support::listing;
use crate::support::report;
use crate::support::tar_of;

/// Found a directory in the place of a file that was left out of the packed layer.
const SEED: u64 = 253_061_888;

/// A small generator, so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn from_environment(test: &str) -> Self {
        let given = std::env::var("LAMINA_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
        report(&format!("{test}: seed {seed}"));
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }

    fn entry(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.below(3) {
            path.push_str(["a/", "b/", "c/", "\u{e9}/"][self.below(4)]);
        }
        let path = path.trim_end_matches('/');
        let other = ["a", "b", "/c", "../a", "b/a"][self.below(5)];
        match self.below(9) {
            0 | 1 => format!("d:{path}/"),
            2 => format!("l:{path}={other}"),
            3 => format!("p:{path}"),
            4 => format!("f:{}/.wh.{}=", path, ["a", "b"][self.below(2)]),
            5 => format!("f:{path}/.wh..wh..opq="),
            _ => format!("f:{path}=data {}", self.below(1000)),
        }
    }
}

#[test]
fn random_stacks_survive_packing() {
    let mut random = Random::from_environment("random_stacks_survive_packing");
    let mut compared = 0;
    for _ in 0..60 {
        let (fixture, other) = (Fixture::new(), Fixture::new());
        let cancel = CancelToken::new();
        let (mut stack, mut again) = (LayerStack::empty(), LayerStack::empty());
        for _ in 0..=random.below(3) {
            let count = 1 + random.below(8);
            let entries: Vec<String> = (0..count).map(|_| random.entry()).collect();
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            // Some make no sense together (a file as a parent); those are refused, by name.
            let Ok((layer, _)) = fixture.unpack(&stack, &tar_of(&entries)) else {
                continue;
            };
            let packed = pack_layer(&fixture.content, &layer, Compression::Gzip(1), &cancel);
            let blob = packed.expect("packs");
            let data = fixture
                .content
                .read(&blob.digest, 1 << 20)
                .expect("is there");
            let (copy, diff_id) = other.unpack(&again, &data).expect("unpacks");
            assert_eq!(diff_id, blob.diff_id);
            (stack, again) = (stack.push(layer), again.push(copy));
            assert_eq!(listing(&again), listing(&stack), "after {entries:?}");
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} layers were compared");
}

#[test]
fn a_directory_in_the_place_of_a_file_is_packed() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let (mut stack, mut again) = (LayerStack::empty(), LayerStack::empty());
    for entries in [&["f:b/c=x"][..], &["f:b/.wh.c=", "f:b/c/b=y"]] {
        let (layer, _) = fixture.unpack(&stack, &tar_of(entries)).expect("unpacks");
        let packed = pack_layer(
            &fixture.content,
            &layer,
            Compression::Uncompressed,
            &CancelToken::new(),
        );
        let digest = packed.expect("packs").digest;
        let data = fixture.content.read(&digest, 1 << 20).expect("is there");
        let (copy, _) = other.unpack(&again, &data).expect("unpacks again");
        (stack, again) = (stack.push(layer), again.push(copy));
        assert_eq!(listing(&again), listing(&stack), "after {entries:?}");
    }
}

#[test]
fn random_damage_never_panics() {
    let mut random = Random::from_environment("random_damage_never_panics");
    let good = tar_of(&["d:d/", "f:d/a=1", "h:b=d/a", "l:s=d", "f:d/.wh.x=", "p:p"]);
    let fixture = Fixture::new();
    for _ in 0..400 {
        let mut tar = good.clone();
        for _ in 0..=random.below(4) {
            let block = random.below(6) * 512;
            let at = block + random.below(512);
            tar[at] = u8::try_from(random.below(256)).unwrap_or(0);
            fix_sum(&mut tar[block..block + 512]);
        }
        drop(fixture.unpack(&LayerStack::empty(), &tar));
    }
}

/// Without a valid checksum, damage would get no further than that.
fn fix_sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
