//! Chat templates of the fuzzer's corpus, each rendered or refused.

use std::error::Error;
use std::path::Path;

/// The very code of the fuzz target.
#[path = "../../../fuzz/src/templates.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod templates;

#[test]
fn nothing_in_the_corpus_of_templates_panics() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/chat_template");
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let rendered = std::panic::catch_unwind(|| templates::chat_template(&bytes));
        assert!(rendered.is_ok(), "{} panics", path.display());
        count += 1;
    }
    assert!(count > 10, "the corpus is not whole");
    Ok(())
}
