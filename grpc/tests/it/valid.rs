//! Valid requests that odd ones are made of.

use lamina_proto::content;
use lamina_proto::control;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_proto::rpc;
use lamina_types::Digest;
use prost::Message as _;

use crate::bridge::definition;

type Requests = Vec<(&'static str, Vec<u8>)>;

/// One for each method of LLBBridge.
pub(crate) fn of_gateway() -> Requests {
    let read = read().encode_to_vec();
    vec![
        ("Ping", Vec::new()),
        ("Inputs", Vec::new()),
        ("Solve", solve().encode_to_vec()),
        ("Warn", warning().encode_to_vec()),
        ("ReadFile", read.clone()),
        ("ReadDir", read.clone()),
        ("StatFile", read.clone()),
        ("Evaluate", read),
        ("ResolveImageConfig", solve().encode_to_vec()),
        ("ResolveSourceMeta", source().encode_to_vec()),
        ("NewContainer", solve().encode_to_vec()),
        // The last: what is returned ends the build.
        ("Return", returned().encode_to_vec()),
    ]
}

fn solve() -> gateway::SolveRequest {
    gateway::SolveRequest {
        definition: Some(definition(b"x")),
        frontend_opt: [("k".to_owned(), "v".to_owned())].into(),
        ..gateway::SolveRequest::default()
    }
}

fn warning() -> gateway::WarnRequest {
    gateway::WarnRequest {
        digest: Digest::of(b"v").to_string(),
        info: Some(pb::SourceInfo::default()),
        ranges: vec![pb::Range::default()],
        ..gateway::WarnRequest::default()
    }
}

fn read() -> gateway::ReadFileRequest {
    gateway::ReadFileRequest {
        r#ref: "x".to_owned(),
        file_path: "/etc".to_owned(),
        range: Some(gateway::FileRange {
            offset: 1,
            length: 2,
        }),
        ..gateway::ReadFileRequest::default()
    }
}

fn source() -> gateway::ResolveSourceMetaRequest {
    gateway::ResolveSourceMetaRequest {
        source: Some(pb::SourceOp {
            identifier: "docker-image://x".to_owned(),
            ..pb::SourceOp::default()
        }),
        platform: Some(pb::Platform::default()),
        ..gateway::ResolveSourceMetaRequest::default()
    }
}

fn returned() -> gateway::ReturnRequest {
    let detail = prost_types::Any {
        type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
        value: br#"{"info":{"filename":"f"},"ranges":[{}]}"#.to_vec(),
    };
    gateway::ReturnRequest {
        result: Some(gateway::Result {
            result: Some(gateway::result::Result::Ref(gateway::Ref::default())),
            metadata: [("k".to_owned(), b"v".to_vec())].into(),
            ..gateway::Result::default()
        }),
        error: Some(rpc::Status {
            code: 2,
            message: "m".to_owned(),
            details: vec![detail],
        }),
    }
}

/// For methods of the daemon socket, by their paths.
pub(crate) fn of_socket() -> Requests {
    let usage = usage().encode_to_vec();
    vec![
        ("/moby.buildkit.v1.Control/Solve", build().encode_to_vec()),
        ("/moby.buildkit.v1.Control/DiskUsage", usage.clone()),
        ("/moby.buildkit.v1.Control/Prune", prune().encode_to_vec()),
        ("/moby.buildkit.v1.Control/ListWorkers", usage.clone()),
        (
            "/moby.buildkit.v1.Control/UpdateBuildHistory",
            update().encode_to_vec(),
        ),
        (
            "/moby.buildkit.v1.Control/ListenBuildHistory",
            history().encode_to_vec(),
        ),
        (
            "/containerd.services.content.v1.Content/Info",
            usage.clone(),
        ),
        (
            "/containerd.services.content.v1.Content/Read",
            blob().encode_to_vec(),
        ),
        (
            "/containerd.services.content.v1.Content/List",
            usage.clone(),
        ),
        ("/moby.buildkit.v1.frontend.LLBBridge/Ping", Vec::new()),
        (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            usage,
        ),
    ]
}

/// A build of a definition that cannot be loaded.
pub(crate) fn build() -> control::SolveRequest {
    control::SolveRequest {
        r#ref: "x".to_owned(),
        definition: Some(definition(b"x")),
        session: "nobody".to_owned(),
        ..control::SolveRequest::default()
    }
}

fn prune() -> control::PruneRequest {
    control::PruneRequest {
        filter: vec!["type==regular".to_owned()],
        keep_duration: i64::MIN,
        reserved_space: i64::MAX,
        max_used_space: -1,
        ..control::PruneRequest::default()
    }
}

/// Its first field is a list of filters, as that of other requests.
fn usage() -> control::DiskUsageRequest {
    control::DiskUsageRequest {
        filter: vec!["id~=x".to_owned()],
        age_limit: i64::MIN,
    }
}

fn update() -> control::UpdateBuildHistoryRequest {
    control::UpdateBuildHistoryRequest {
        r#ref: "x".to_owned(),
        delete: true,
        ..control::UpdateBuildHistoryRequest::default()
    }
}

fn history() -> control::BuildHistoryRequest {
    control::BuildHistoryRequest {
        r#ref: "x".to_owned(),
        early_exit: true,
        filter: vec!["status==error".to_owned()],
        limit: 3,
        ..control::BuildHistoryRequest::default()
    }
}

fn blob() -> content::ReadContentRequest {
    content::ReadContentRequest {
        digest: Digest::of(b"x").to_string(),
        offset: i64::MAX,
        size: i64::MIN,
    }
}
