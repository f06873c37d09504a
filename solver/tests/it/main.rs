//! The solver as a build sees it, over steps that only pretend.

#![cfg(test)]

mod cached;
mod concurrent;
mod deep;
mod events;
mod ignored;
mod imports;
mod pins;
mod random;
mod store;
mod world;
