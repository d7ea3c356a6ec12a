//! The body of a request.

#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;

/// More than any input of a fuzzer may ask for; beyond it the program ends.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, 384 << 20);

fuzz_target!(|bytes: &[u8]| weighbridge_fuzz::bodies::body(bytes));
