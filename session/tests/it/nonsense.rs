//! Packets of any kind in any order: each half ends with a result and never panics (row SVC-05).

use bytes::Bytes;
use futures_util::StreamExt;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::Stat;
use lamina_session::FileReceiver;
use lamina_session::FileSender;
use lamina_session::PacketStream;
use lamina_session::Received;
use lamina_session::SessionError;
use tokio::sync::mpsc;

use crate::transfer::Random;
use crate::transfer::file;
use crate::wait;

const PATHS: [&str; 12] = [
    "a", "a/b", "b", "b/c", "..", "../x", "/", "", ".", "a//b", "\0", "a/../b",
];

fn packet(random: &mut Random) -> Packet {
    let modes = [0o644, 1 << 31 | 0o755, 1 << 27, 1 << 26, u32::MAX];
    let numbers = [0, 1, -1, i64::MIN, i64::MAX];
    let stat = Stat {
        path: PATHS[random.below(PATHS.len())].to_owned(),
        mode: modes[random.below(modes.len())],
        size: numbers[random.below(numbers.len())],
        mod_time: numbers[random.below(numbers.len())],
        devmajor: numbers[random.below(numbers.len())],
        linkname: PATHS[random.below(PATHS.len())].to_owned(),
        ..Stat::default()
    };
    let types = [0, 0, 0, 0, 1, 2, 3, 4, -1];
    Packet {
        r#type: types[random.below(types.len())],
        stat: (random.below(5) > 0).then_some(stat),
        id: [0, 1, 2, u32::MAX][random.below(4)],
        data: Bytes::from(vec![b'x'; random.below(3)]),
    }
}

fn packets(random: &mut Random) -> PacketStream {
    let packets: Vec<_> = (0..random.below(12)).map(|_| Ok(packet(random))).collect();
    futures_util::stream::iter(packets).boxed()
}

/// Receives, asking for all that can be asked for.
async fn receive(mut receiver: FileReceiver) -> Result<Vec<Vec<u8>>, SessionError> {
    let mut paths: Vec<Vec<u8>> = Vec::new();
    while let Some(received) = receiver.next().await? {
        if let Received::Entry(entry) = received {
            let id = u32::try_from(paths.len()).expect("fits");
            receiver.request(id).await?;
            paths.push(entry.path);
        }
    }
    Ok(paths)
}

async fn send(mut sender: FileSender) -> Result<(), SessionError> {
    sender.entry(&file("a", 1)).await?;
    sender.entry(&file("b", 1)).await?;
    sender.entries_end().await?;
    let mut asked = Vec::new();
    while let Some(id) = sender.next_request().await? {
        assert!(id < 2 && !asked.contains(&id), "what was offered, and once");
        asked.push(id);
        sender.file_end(id).await?;
    }
    sender.finish().await
}

#[test]
fn nothing_panics_or_escapes() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let sent = packets(&mut random);
        let (sink, _queue) = mpsc::channel(64);
        if let Ok(paths) = wait(receive(FileReceiver::new(sent, sink))) {
            let safe = paths.is_sorted() && !paths.iter().any(|path| path.starts_with(b"."));
            assert!(safe, "seed {seed}: {paths:?}");
        }
        let (sink, _queue) = mpsc::channel(64);
        // Any result will do.
        drop(wait(send(FileSender::new(packets(&mut random), sink))));
    }
}
