//! A client at the other end of a tunnel.

mod content;
mod exports;
mod files;
mod lifecycle;
mod services;
