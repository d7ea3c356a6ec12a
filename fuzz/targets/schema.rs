//! What an answer must be.

#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;

/// More than any input of a fuzzer may ask for; beyond it the program ends.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, 384 << 20);

fuzz_target!(
    // The engine of grammars panics where it catches it; what gets out ends the program still.
    init: std::panic::set_hook(Box::new(|_| ())),
    |bytes: &[u8]| weighbridge_fuzz::schemas::schema(bytes)
);
