//! Blobs, layers and archives as their users see them.

mod archives;
mod goldens;
mod hostile;
mod layers;
mod namespaces;
mod random;
mod store;
mod support;
mod tools;
