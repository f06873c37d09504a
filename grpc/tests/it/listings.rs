//! ReadDir from memory.

use lamina_proto::gateway;
use lamina_proto::gateway::llb_bridge_client::LlbBridgeClient;

use crate::bridge::MemoryBridge;
use crate::gateway::reference;
use crate::gateway::with_pipe;
use crate::harness::Outcome;

/// Row GW-26: a reference never changes, so what was listed is not asked for again.
pub(crate) fn listings_are_remembered() -> Outcome {
    let (bridge, _, ()) = with_pipe(MemoryBridge::with_options(&[]), async |channel| {
        let client = &mut LlbBridgeClient::new(channel);
        let (one, other) = (reference(client, b"a").await, reference(client, b"b").await);
        let list = |id: &str, dir_path: &str| gateway::ReadDirRequest {
            r#ref: id.to_owned(),
            dir_path: dir_path.to_owned(),
            ..gateway::ReadDirRequest::default()
        };
        let first = client.read_dir(list(&one, "/etc")).await.expect("listed");
        let again = client.read_dir(list(&one, "/etc")).await.expect("listed");
        assert_eq!(first.into_inner(), again.into_inner());
        client.read_dir(list(&other, "/etc")).await.expect("listed");
        for id in [&one[..], "nobody's"] {
            for _ in 0..2 {
                let answer = client.read_dir(list(id, "/nothere")).await;
                answer.expect_err("no such directory, or reference");
            }
        }
    });
    let asked = bridge.listed.lock().expect("unpoisoned").clone();
    assert_eq!(asked, ["/etc", "/etc", "/nothere", "/nothere"]);
    Outcome::Passed
}
