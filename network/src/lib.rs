//! The networks of steps: namespaces with a way out, made before a step needs one.
//!
//! ```text
//! a step's namespace            the outer namespace                                  elsewhere
//! lo, eth0 10.10.0.2 ────────── lamina0a0a0002 ─┐
//!                                               ├─ buildkit0 10.10.0.1 ── nat ── eth0 ──
//! lo, eth0 10.10.0.3 ────────── lamina0a0a0003 ─┘
//! ```
//!
//! [`Networks::start`] decides by [`NetworkOptions`] what steps that ask for nothing in particular get
//! (row EXC-29): the host's network, a namespace on a [bridge] of our own, or one that CNI plugins wire
//! ([cni]). [`Networks::join`] hands a namespace out, and the step enters it by its descriptor; dropped,
//! it is taken down again. No namespace serves two steps.
//!
//! The outer namespace is the one in which [`Networks::start`] is called. An ordinary user may not wire
//! anything there, so the outer namespace is then one of our own, with a way out by a program that speaks
//! for it with ordinary sockets ([uplink]: pasta or slirp4netns).
//!
//! What is made is tied to this process where the kernel allows it: namespaces live by descriptors, and
//! with a namespace goes its end of the wire and its address. What a killed process still leaves behind
//! is swept by the next.
//!
//! [bridge]: bridge/index.html
//! [cni]: cni/index.html
//! [uplink]: uplink/index.html
#![deny(unsafe_code)]

mod bridge;
mod cni;
mod error;
mod forwarding;
mod links;
mod namespace;
mod netlink;
mod networks;
mod nf;
mod options;
mod output;
mod pool;
mod routes;
mod subnet;
#[expect(unsafe_code, reason = "a wish for the time between fork and exec")]
mod sys;
mod uplink;

pub use cni::CniError;
pub use error::NetworkError;
pub use networks::Networks;
pub use networks::StepNetwork;
pub use options::CniOptions;
pub use options::Mode;
pub use options::NetworkOptions;
pub use options::UnknownMode;
pub use subnet::Subnet;
pub use subnet::SubnetError;
