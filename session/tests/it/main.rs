//! A client in this process, seen through the trait that builds use.

mod credentials;
mod secrets;
mod targets;

use std::future::Future;

/// Runs a future on a small runtime of its own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(future)
}
