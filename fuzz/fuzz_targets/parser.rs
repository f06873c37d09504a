//! Text to typed instructions.

#![no_main]

#[path = "../../frontend/examples/fuzz/harness.rs"]
#[expect(dead_code, reason = "each target uses one of its functions")]
mod harness;

libfuzzer_sys::fuzz_target!(|text: &str| harness::parse(text));
