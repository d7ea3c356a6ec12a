//! Everything below safe Rust: mapped files.
