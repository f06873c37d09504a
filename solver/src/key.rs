//! Cache keys: ids of computations, and the links between them.
//!
//! An id stands for one output of one computation. It is a sha256 over
//!
//! - `root`: op digest, output - an op without inputs,
//! - `content`: a digest of what an op reads of an input,
//! - `op`: op digest, output, and for every input the content id where it is known, else the
//!   input's id and the selector.
//!
//! The same computation can be reached in several ways (by definition, by content), so ids are not
//! looked up by computing them: they are found by following links from the ids of the inputs. The
//! computed id is only the name that is given to something new.

use std::fmt;

use lamina_types::Digest;
use lamina_types::Sha256Hasher;

/// Names one output of one computation, or a piece of content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// Returns the id of output `output` of an op without inputs.
    #[must_use]
    pub fn root(op: Digest, output: u32) -> Self {
        let mut hasher = Sha256Hasher::new();
        hasher.update_field(b"root");
        hasher.update(op.as_bytes());
        hasher.update(&output.to_le_bytes());
        Self(hasher.finish())
    }

    /// Returns the id of content, whoever made it.
    #[must_use]
    pub fn content(content: Digest) -> Self {
        let mut hasher = Sha256Hasher::new();
        hasher.update_field(b"content");
        hasher.update(content.as_bytes());
        Self(hasher.finish())
    }

    /// Returns the id of output `output` of an op over inputs, each given with its selector.
    #[must_use]
    pub fn derived(op: Digest, output: u32, inputs: &[(Self, Option<Digest>)]) -> Self {
        let mut hasher = Sha256Hasher::new();
        hasher.update_field(b"op");
        hasher.update(op.as_bytes());
        hasher.update(&output.to_le_bytes());
        for (id, selector) in inputs {
            hasher.update(id.as_bytes());
            update_option(&mut hasher, *selector);
        }
        Self(hasher.finish())
    }

    /// Wraps an id that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.12}", self.0.hex())
    }
}

/// How an id is used by a computation. Together with the id it leads to the computation's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link {
    /// Which input of the computation the id is.
    pub input: u32,
    /// Which output of the computation is meant.
    pub output: u32,
    /// The computation's op digest.
    pub op: Digest,
    /// What the computation uses of the input; `None` for content ids, which say it themselves.
    pub selector: Option<Digest>,
}

impl Link {
    /// Returns 32 bytes that are equal exactly for equal links.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256Hasher::new();
        hasher.update(&self.input.to_le_bytes());
        hasher.update(&self.output.to_le_bytes());
        hasher.update(self.op.as_bytes());
        update_option(&mut hasher, self.selector);
        hasher.finish()
    }
}

fn update_option(hasher: &mut Sha256Hasher, digest: Option<Digest>) {
    match digest {
        None => hasher.update(&[0]),
        Some(digest) => {
            hasher.update(&[1]);
            hasher.update(digest.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair must differ: each row changes one field.
    #[test]
    fn ids_of_different_things_differ() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let [x, y] = [KeyId::content(a), KeyId::content(b)];
        let rows = [
            ("root", KeyId::root(a, 0)),
            ("root, other op", KeyId::root(b, 0)),
            ("root, other output", KeyId::root(a, 1)),
            ("content", x),
            ("derived of nothing", KeyId::derived(a, 0, &[])),
            ("derived", KeyId::derived(a, 0, &[(x, None)])),
            ("derived, other input", KeyId::derived(a, 0, &[(y, None)])),
            ("derived, selector", KeyId::derived(a, 0, &[(x, Some(a))])),
            (
                "derived, twice",
                KeyId::derived(a, 0, &[(x, None), (x, None)]),
            ),
            (
                "derived, order",
                KeyId::derived(a, 0, &[(x, None), (y, None)]),
            ),
            (
                "derived, order 2",
                KeyId::derived(a, 0, &[(y, None), (x, None)]),
            ),
        ];
        for (index, (name, id)) in rows.iter().enumerate() {
            for (other_name, other) in &rows[..index] {
                assert_ne!(id, other, "{name} against {other_name}");
            }
        }
    }

    #[test]
    fn links_differ_by_every_field() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let link = Link {
            input: 0,
            output: 0,
            op: a,
            selector: None,
        };
        let rows = [
            link,
            Link { input: 1, ..link },
            Link { output: 1, ..link },
            Link { op: b, ..link },
            Link {
                selector: Some(a),
                ..link
            },
        ];
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[..index] {
                assert_ne!(row.digest(), other.digest(), "{row:?} against {other:?}");
            }
        }
    }
}
