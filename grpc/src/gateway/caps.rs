//! Ping: what the caller may use (rows GW-01, GCAP-01 to GCAP-27).

use lamina_llb::CAPS;
use lamina_llb::WorkerInfo;
use lamina_proto::caps::ApiCap;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_proto::worker;
use lamina_types::Platform;

/// Ids of the gateway capabilities on offer, sorted. Only what works may stand here.
const GATEWAY_CAPS: &[&str] = &[
    "frontend.caps",
    "frontend.inputs",
    "gateway.evaluate",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.filesystem",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
    "gateway.solve.evaluate",
    "gateway.solve.metadata",
    "gateway.warnings",
    "importcaches",
    "proto.refarray",
    "readdir",
    "readfile",
    "reference.output",
    "resolveimage",
    "resolveimage.resolvemode",
    "return",
    "returnmap",
    "solve.base",
    INLINE_RETURN,
    "source.metaresolver",
    "statfile",
];

/// Works, and clients are to use `return` instead (row GCAP-02).
const INLINE_RETURN: &str = "solve.inlinereturn";

/// Returns the answer to Ping on a build that runs on `worker` (row GW-01).
pub(super) fn pong(worker: &WorkerInfo, platforms: &[Platform]) -> gateway::PongResponse {
    gateway::PongResponse {
        frontend_api_caps: GATEWAY_CAPS.iter().map(|id| cap(id)).collect(),
        llb_caps: CAPS.iter().map(|id| cap(id)).collect(),
        workers: vec![worker::WorkerRecord {
            id: worker.id.clone(),
            labels: worker.labels.clone(),
            platforms: platforms.iter().map(pb::Platform::from).collect(),
            ..worker::WorkerRecord::default()
        }],
    }
}

fn cap(id: &str) -> ApiCap {
    ApiCap {
        id: id.to_owned(),
        enabled: true,
        deprecated: id == INLINE_RETURN,
        ..ApiCap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(GATEWAY_CAPS.is_sorted());
    }

    #[test]
    fn every_cap_is_enabled_and_one_deprecated() {
        let pong = pong(&WorkerInfo::default(), &[]);
        let caps = pong.frontend_api_caps.iter().chain(&pong.llb_caps);
        assert!(caps.clone().all(|cap| cap.enabled));
        let deprecated: Vec<_> = caps.filter(|cap| cap.deprecated).collect();
        assert_eq!(deprecated.len(), 1);
        assert_eq!(deprecated[0].id, "solve.inlinereturn");
    }
}
