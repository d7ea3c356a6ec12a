//! The fuzzer's corpora, each input rendered, read, followed or refused.

use std::error::Error;
use std::path::Path;

/// The very code of the fuzz targets.
#[path = "../../../fuzz/src/answers.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod answers;
#[path = "../../../fuzz/src/templates.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod templates;

/// The very code of the fuzz target.
#[path = "../../../fuzz/src/schemas.rs"]
#[allow(unreachable_pub, reason = "the fuzz target reaches it")]
mod schemas;

type Outcome = Result<(), Box<dyn Error>>;

fn replay(target: &str, least: usize, go: fn(&[u8])) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let ran = std::panic::catch_unwind(|| go(&bytes));
        assert!(ran.is_ok(), "{} panics", path.display());
        count += 1;
    }
    assert!(count > least, "the corpus is not whole");
    Ok(())
}

#[test]
fn nothing_in_the_corpus_of_templates_panics() -> Outcome {
    replay("chat_template", 10, templates::chat_template)
}

#[test]
fn nothing_in_the_corpus_of_schemas_panics_and_answers_to_them_are_json() -> Outcome {
    replay("schema", 30, schemas::schema)
}

#[test]
fn nothing_in_the_corpus_of_answers_panics() -> Outcome {
    replay("answer", 10, answers::answer)
}
