//! How large a definition may be: looked at before anything is made of it.

use super::LoadError;

/// Most ops in one definition; real ones have some thousands.
const MAX_OPS: usize = 100_000;
/// Most bytes in one definition: four messages of the wire's limit (row NET-04).
const MAX_BYTES: usize = 64 << 20;
/// Most inputs of all ops together.
const MAX_INPUTS: usize = 1_000_000;

/// Refuses too many ops, or too many bytes of all of them.
///
/// # Errors
/// [`LoadError::TooLarge`].
pub(crate) fn check(ops: &[Vec<u8>]) -> Result<(), LoadError> {
    limit("the number of vertexes", ops.len(), MAX_OPS)?;
    limit("its size", ops.iter().map(Vec::len).sum(), MAX_BYTES)
}

/// Refuses too many inputs of all ops together.
///
/// # Errors
/// [`LoadError::TooLarge`].
pub(crate) fn check_inputs(inputs: usize) -> Result<(), LoadError> {
    limit("the number of inputs", inputs, MAX_INPUTS)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), LoadError> {
    if found > limit {
        return Err(LoadError::TooLarge { what, limit });
    }
    Ok(())
}
