//! The fuzzer's corpus of bodies, each read or refused.

use std::error::Error;
use std::path::Path;

/// The very code of the fuzz target.
#[path = "../../../fuzz/src/bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod bodies;

#[test]
fn nothing_in_the_corpus_of_bodies_panics_and_no_field_is_passed_over() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/body");
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let ran = std::panic::catch_unwind(|| bodies::body(&bytes));
        assert!(ran.is_ok(), "{} is a finding", path.display());
        count += 1;
    }
    assert!(count > 50, "the corpus is not whole");
    Ok(())
}
