//! The wire contract: our own `.proto` files and the code generated from them.
//!
//! Maps are ordered, so that encoding the same message twice gives the same bytes; vertex digests
//! are nevertheless always computed over bytes as received (row LLB-02).

/// The low-level build graph: [`pb::Definition`], [`pb::Op`] and what they hold.
#[expect(missing_docs, clippy::large_enum_variant, reason = "generated code")]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}
