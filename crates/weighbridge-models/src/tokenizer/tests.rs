//! Tokenizers of metadata written by hand: what is refused, and what only some files ask for.

use std::sync::Arc;

use super::{Tokenizer, TokenizerError};
use crate::bytes::Bytes;
use crate::gguf::Gguf;

type Outcome = Result<(), TokenizerError>;

/// The metadata of a file, pair by pair.
#[derive(Clone, Default)]
struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn of(model: &str) -> Self {
        Self::default().text("tokenizer.ggml.model", model)
    }

    fn key(mut self, key: &str, kind: u32) -> Self {
        self.count += 1;
        self.string(key);
        self.bytes.extend(kind.to_le_bytes());
        self
    }

    fn string(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn text(self, key: &str, value: &str) -> Self {
        let mut with = self.key(key, 8);
        with.string(value);
        with
    }

    fn flag(self, key: &str, value: bool) -> Self {
        let mut with = self.key(key, 7);
        with.bytes.push(value.into());
        with
    }

    fn number(self, key: &str, value: u32) -> Self {
        let mut with = self.key(key, 4);
        with.bytes.extend(value.to_le_bytes());
        with
    }

    fn array(self, key: &str, kind: u32, length: usize) -> Self {
        let mut with = self.key(key, 9);
        with.bytes.extend(kind.to_le_bytes());
        with.bytes.extend((length as u64).to_le_bytes());
        with
    }

    fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut with = self.array(key, 8, values.len());
        values.iter().for_each(|value| with.string(value));
        with
    }

    fn types(self, values: &[i32]) -> Self {
        let mut with = self.array("tokenizer.ggml.token_type", 5, values.len());
        with.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        with
    }

    fn scores(self, values: &[f32]) -> Self {
        let mut with = self.array("tokenizer.ggml.scores", 6, values.len());
        with.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        with
    }

    fn tokens(self, tokens: &[&str]) -> Self {
        self.texts("tokenizer.ggml.tokens", tokens)
    }

    fn tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(0_u64.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        file.extend(self.bytes);
        Tokenizer::from_gguf(&Gguf::parse(Bytes::Owned(Arc::new(file)))?)
    }
}

fn check_refused(metadata: Metadata, expected: &str) {
    let message = metadata.tokenizer().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains(expected), "`{message}` does not say `{expected}`");
}

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

#[test]
fn what_is_not_known_is_refused_by_name() {
    for model in ["rwkv", "plamo2", "hybriddna", "whitespace", "test", "none"] {
        check_refused(
            Metadata::of(model).tokens(&["a"]),
            &format!("model `{model}` is not supported yet; supported: gpt2,"),
        );
    }
    let metadata = Metadata::of("gpt2").tokens(&["a"]).texts(MERGES, &[]);
    check_refused(
        metadata.text(PRE, "gpt-5"),
        "pre-tokenizer `gpt-5` is not supported yet; supported: default, gpt-2,",
    );
}

#[test]
fn a_vocabulary_that_contradicts_itself_is_refused() {
    let gpt2 = |merges: &[&str]| Metadata::of("gpt2").text(PRE, "gpt-2").tokens(&["a", "b"]).texts(MERGES, merges);
    check_refused(gpt2(&["a"]), "merge 0 is no pair");
    check_refused(gpt2(&["a b"]), r#"merge 0 needs "ab", which is no token"#);
    check_refused(gpt2(&["a c"]), r#"merge 0 needs "c", which is no token"#);
    check_refused(
        Metadata::of("gpt2").text(PRE, "gpt-2").tokens(&["a"]),
        "the metadata has no `tokenizer.ggml.merges`",
    );
    check_refused(Metadata::of("llama").tokens(&["a"]).scores(&[]), "has 0 scores for 1 tokens");
    check_refused(Metadata::of("bert").tokens(&["a"]), "tokenizer.ggml.unknown_token_id is no token");
    check_refused(Metadata::of("t5").tokens(&["a"]).scores(&[0.0]), "tokenizer.ggml.unknown_token_id is no token");
}

/// Phi-3's tokens, as far as the test goes.
fn phi3(name: &str) -> Metadata {
    let tokens = ["<unk>", "<s>", "</s>", "▁", "\n", "a", "▁a", "<|end|>", "<|endoftext|>"];
    let metadata = Metadata::of("llama").text("general.name", name).tokens(&tokens);
    metadata.types(&[2, 3, 4, 1, 1, 1, 1, 3, 3]).scores(&[0.0, 0.0, 0.0, -3.0, -4.0, -2.0, -1.0, 0.0, 0.0])
}

#[test]
fn tokens_of_phi3_take_the_white_space_after_them() -> Outcome {
    let check = |name: &str, text: &str, expected: &[&str]| -> Outcome {
        let tokenizer = phi3(name).tokenizer()?;
        let tokens = tokenizer.encode(text)?;
        let names: Vec<_> = tokens.into_iter().filter_map(|token| tokenizer.token(token)).collect();
        assert_eq!(names, expected, "{name}: {text:?}");
        Ok(())
    };
    check("Phi-3 Mini", "<|end|>\n a", &["<|end|>", "▁a"])?;
    check("phi3", "</s>\na", &["</s>", "▁a"])?;
    check("Phi-3", "<|endoftext|>\na", &["<|endoftext|>", "▁", "\n", "a"])?;
    check("Llama", "<|end|>\na", &["<|end|>", "▁", "\n", "a"])
}

#[test]
fn a_space_goes_before_a_text_where_the_file_says() -> Outcome {
    let check = |prefix: bool, text: &str, expected: &[u32]| -> Outcome {
        let tokenizer = phi3("Llama").flag("tokenizer.ggml.add_space_prefix", prefix).tokenizer()?;
        assert_eq!(tokenizer.encode(text)?, expected);
        assert_eq!(tokenizer.decode(expected), text);
        Ok(())
    };
    check(true, "a", &[6])?;
    check(false, "a", &[5])?;
    check(true, " a", &[3, 6])?;
    check(false, " a", &[6])
}

#[test]
fn encoders_begin_and_end_a_text() -> Outcome {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁play", "ing", "▁."];
    let metadata = Metadata::of("bert").tokens(&tokens).types(&[3, 3, 3, 3, 1, 1, 1]);
    let metadata = metadata.number("tokenizer.ggml.unknown_token_id", 1).number("tokenizer.ggml.cls_token_id", 2);
    let tokenizer = metadata.number("tokenizer.ggml.seperator_token_id", 3).tokenizer()?;
    assert_eq!(tokenizer.encode("Plàying. [SEP]")?, [4, 5, 6, 3]);
    assert_eq!(tokenizer.encode_with_bos("Playing 東")?, [2, 4, 5, 1, 3]);
    assert_eq!(tokenizer.decode(&[4, 5, 6]), "playing.");
    Ok(())
}

#[test]
fn a_marker_that_the_model_knows_as_a_word_is_taken_apart() -> Outcome {
    let tokens = ["<s>", "<unk>", "▁", "<", "s", ">", "▁a"];
    let metadata = Metadata::of("t5").tokens(&tokens).types(&[3, 2, 1, 1, 1, 1, 1]);
    let metadata = metadata.scores(&[0.0, 0.0, -2.0, -3.0, -3.0, -3.0, -1.0]);
    let tokenizer = metadata.number("tokenizer.ggml.unknown_token_id", 1).tokenizer()?;
    assert_eq!(tokenizer.markers(), ["<s>", "<unk>"]);
    assert_eq!(tokenizer.encode("a<s>")?, [6, 0]);
    assert_eq!(tokenizer.encode_text("a<s>")?, [6, 3, 4, 5]);
    Ok(())
}
