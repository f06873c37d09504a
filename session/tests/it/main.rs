//! Clients, in this process and at the other end of a tunnel, seen through the trait that builds
//! use.

mod blobs;
mod credentials;
mod fake;
mod host;
mod nonsense;
mod pipe;
mod remote;
mod secrets;
mod serving;
mod sockets;
mod targets;
mod transfer;

use std::future::Future;

/// Runs a future on a small runtime of its own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(future)
}
