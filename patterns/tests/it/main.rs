//! The two pattern languages: tables of named rows, and oracles.

mod lists;
mod oracle;
mod wildcards;
