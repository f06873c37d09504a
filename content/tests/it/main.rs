//! Blobs, layers and archives as their users see them.

mod archives;
mod goldens;
mod hostile;
mod layers;
mod random;
mod single_id;
mod store;
mod support;
mod tools;
