//! The client against a daemon inside the test, over a real socket.

mod builds;
mod calls;
mod daemon;
mod failures;
mod hostile;
mod receiving;
mod sending;
mod services;
