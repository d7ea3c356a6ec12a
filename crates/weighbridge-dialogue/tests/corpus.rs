//! The fuzzer's corpora, each input rendered, read or refused.

use std::error::Error;
use std::path::Path;

/// The very code of the fuzz targets.
#[path = "../../../fuzz/src/answers.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod answers;
#[path = "../../../fuzz/src/templates.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod templates;

fn replay(target: &str, run: fn(&[u8])) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let ran = std::panic::catch_unwind(|| run(&bytes));
        assert!(ran.is_ok(), "{} panics", path.display());
        count += 1;
    }
    assert!(count > 10, "the corpus is not whole");
    Ok(())
}

#[test]
fn nothing_in_the_corpus_of_templates_panics() -> Result<(), Box<dyn Error>> {
    replay("chat_template", templates::chat_template)
}

#[test]
fn nothing_in_the_corpus_of_answers_panics() -> Result<(), Box<dyn Error>> {
    replay("answer", answers::answer)
}
