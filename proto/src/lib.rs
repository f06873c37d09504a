//! The wire contract: our own `.proto` files and the code generated from them.
//!
//! Maps are ordered, so that encoding the same message twice gives the same bytes; vertex digests
//! are nevertheless always computed over bytes as received (row LLB-02).
//!
//! Generated modules follow the packages; the short names below are what the rest of the code uses.

mod platform;

#[expect(
    missing_docs,
    clippy::large_enum_variant,
    clippy::doc_markdown,
    clippy::default_trait_access,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "generated code"
)]
mod generated {
    pub mod pb {
        include!(concat!(env!("OUT_DIR"), "/pb.rs"));
    }
    pub mod errdefs {
        include!(concat!(env!("OUT_DIR"), "/errdefs.rs"));
    }
    pub mod fsutil {
        pub mod types {
            include!(concat!(env!("OUT_DIR"), "/fsutil.types.rs"));
        }
    }
    pub mod google {
        pub mod rpc {
            include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        }
    }
    pub mod moby {
        pub mod buildkit {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.rs"));
                pub mod apicaps {
                    include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.apicaps.rs"));
                }
                pub mod frontend {
                    include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.frontend.rs"));
                }
                pub mod sourcepolicy {
                    include!(concat!(
                        env!("OUT_DIR"),
                        "/moby.buildkit.v1.sourcepolicy.rs"
                    ));
                }
                pub mod types {
                    include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.types.rs"));
                }
            }
            pub mod secrets {
                pub mod v1 {
                    include!(concat!(env!("OUT_DIR"), "/moby.buildkit.secrets.v1.rs"));
                }
            }
        }
        pub mod exporter {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.exporter.v1.rs"));
            }
        }
        pub mod filesync {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.filesync.v1.rs"));
            }
        }
        pub mod sshforward {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.sshforward.v1.rs"));
            }
        }
        pub mod upload {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.upload.v1.rs"));
            }
        }
    }
    pub mod containerd {
        pub mod services {
            pub mod content {
                pub mod v1 {
                    include!(concat!(
                        env!("OUT_DIR"),
                        "/containerd.services.content.v1.rs"
                    ));
                }
            }
        }
    }
    pub mod opentelemetry {
        pub mod proto {
            pub mod collector {
                pub mod trace {
                    pub mod v1 {
                        include!(concat!(
                            env!("OUT_DIR"),
                            "/opentelemetry.proto.collector.trace.v1.rs"
                        ));
                    }
                }
            }
        }
    }
}

/// Blobs by digest, the daemon's and the client's (rows OTH-04, SVC-19).
pub use generated::containerd::services::content::v1 as content;
/// Details of errors (section 1.1).
pub use generated::errdefs;
/// Packets of directory transfers (row SVC-02).
pub use generated::fsutil::types as fsutil;
/// Errors with details.
pub use generated::google::rpc;
/// Secrets of the client (row SVC-14).
pub use generated::moby::buildkit::secrets::v1 as secrets;
/// The Control service (section 2).
pub use generated::moby::buildkit::v1 as control;
/// Capabilities (section 7).
pub use generated::moby::buildkit::v1::apicaps as caps;
/// The LLBBridge service (section 3).
pub use generated::moby::buildkit::v1::frontend as gateway;
/// Rules on sources (section 6.6).
pub use generated::moby::buildkit::v1::sourcepolicy;
/// Workers and versions.
pub use generated::moby::buildkit::v1::types as worker;
/// Exporters that the client chooses (row SVC-18).
pub use generated::moby::exporter::v1 as exporter;
/// Files and credentials of the client (rows SVC-01 to SVC-13).
pub use generated::moby::filesync::v1 as filesync;
/// Agents and sockets of the client (rows SVC-15, SVC-16).
pub use generated::moby::sshforward::v1 as sshforward;
/// Streams of the client by URL (row SVC-17).
pub use generated::moby::upload::v1 as upload;
/// Spans (row OTH-03).
pub use generated::opentelemetry::proto::collector::trace::v1 as trace;
/// The low-level build graph: [`pb::Definition`], [`pb::Op`] and what they hold.
pub use generated::pb;

/// The encoded `FileDescriptorSet` of everything above, for reflection (row OTH-02).
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
