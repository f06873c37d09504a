//! The JSON form of arguments.

use serde_json::Value;

use crate::syntax::Arguments;
use crate::syntax::SyntaxError;

/// Reads a JSON array of strings; `None` if the text is no JSON array, so that it is meant as words.
///
/// # Errors
/// If it is an array with something else than strings in it.
pub(crate) fn json_array(rest: &str) -> Result<Option<Arguments>, SyntaxError> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(rest) else {
        return Ok(None);
    };
    let strings = values.into_iter().map(|value| match value {
        Value::String(text) => Ok(text),
        _ => Err(SyntaxError::NotOnlyStrings),
    });
    strings
        .collect::<Result<_, _>>()
        .map(Arguments::Json)
        .map(Some)
}
