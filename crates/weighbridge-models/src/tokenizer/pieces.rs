//! The bytes of text that a token of the vocabulary stands for.

use serde::Deserialize;
use serde_json::Value as Json;

use super::TokenizerError;

/// How a vocabulary writes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// Each byte as one printable character, as GPT-2 does.
    ByteLevel,
    /// Text with `▁` for the space, and `<0xE6>` for single bytes, as SentencePiece does.
    SentencePiece {
        /// Whether encoding put a space before the text, which decoding takes away.
        extra_space: bool,
    },
    /// Text with `##` before what goes on within a word, as BERT does. Nothing tells how words stood apart.
    WordPiece {
        /// Whether punctuation joins the word before it.
        cleanup: bool,
    },
}

/// What SentencePiece writes for a space.
const SPACE: char = '▁';

/// What BERT writes before a piece that goes on within a word.
const WITHIN_WORD: &str = "##";

/// What begins a token of BERT that joins the word before it (`cleanup` of the library's `decoders/wordpiece.rs`).
const JOINS: [&str; 9] = [".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"];

/// One decoder, or one of a sequence, of a `tokenizer.json`.
#[derive(Deserialize)]
struct Decoder {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    decoders: Vec<Decoder>,
    pattern: Option<Json>,
    content: Option<String>,
    start: Option<u64>,
    stop: Option<u64>,
    replacement: Option<char>,
    prepend_scheme: Option<String>,
    prefix: Option<String>,
    cleanup: Option<bool>,
}

impl Pieces {
    /// As BERT's own files have it.
    pub(super) const WORD_PIECE: Self = Self::WordPiece { cleanup: true };

    /// How the decoder of a tokenizer reads its vocabulary.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let Some(decoder) = tokenizer.get_decoder() else { return Err(unsupported("none")) };
        let decoder = serde_json::to_value(decoder).and_then(Decoder::deserialize);
        let decoder = decoder.map_err(|reason| TokenizerError::Json(reason.to_string()))?;
        let steps = if decoder.kind == "Sequence" { decoder.decoders } else { vec![decoder] };
        Self::of_steps(&steps)
    }

    fn of_steps(steps: &[Decoder]) -> Result<Self, TokenizerError> {
        if let [step] = steps
            && step.kind == "WordPiece"
            && step.prefix.as_deref() == Some(WITHIN_WORD)
        {
            return Ok(Self::WordPiece { cleanup: step.cleanup.unwrap_or(true) });
        }
        let mut byte_level = false;
        let mut extra_space = false;
        for step in steps {
            match step.kind.as_str() {
                "ByteLevel" => byte_level = true,
                "ByteFallback" | "Fuse" => {}
                "Replace" if step.replaces_spaces() => {}
                "Strip" if step.strips_one_space() => extra_space = true,
                "Metaspace" if step.replacement == Some(SPACE) => {
                    extra_space = step.prepend_scheme.as_deref() != Some("never");
                }
                other => return Err(unsupported(other)),
            }
        }
        Ok(if byte_level { Self::ByteLevel } else { Self::SentencePiece { extra_space } })
    }

    pub(super) fn starts_with_extra_space(self) -> bool {
        matches!(self, Self::SentencePiece { extra_space: true } | Self::WordPiece { .. })
    }

    /// The bytes of a token, by its name.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            // A name with other characters was added by hand and stands for itself.
            Self::ByteLevel => token.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| token.into()),
            Self::SentencePiece { .. } => match single_byte(token) {
                Some(byte) => vec![byte],
                None => token.replace(SPACE, " ").into_bytes(),
            },
            Self::WordPiece { cleanup } => match token.strip_prefix(WITHIN_WORD) {
                Some(rest) => rest.into(),
                None if cleanup && JOINS.iter().any(|start| token.starts_with(start)) => token.into(),
                None => format!(" {token}").into_bytes(),
            },
        }
    }
}

impl Decoder {
    fn replaces_spaces(&self) -> bool {
        let pattern = self.pattern.as_ref().and_then(|pattern| pattern.get("String")?.as_str());
        pattern == Some("▁") && self.content.as_deref() == Some(" ")
    }

    fn strips_one_space(&self) -> bool {
        self.content.as_deref() == Some(" ") && self.start == Some(1) && self.stop == Some(0)
    }
}

fn unsupported(name: &str) -> TokenizerError {
    let supported = "ByteLevel, Metaspace, WordPiece with `##`, and sequences of Replace, ByteFallback, Fuse and Strip as of Llama 2";
    TokenizerError::Unsupported { part: "decoder", name: name.to_owned(), supported: supported.to_owned() }
}

/// The byte that GPT-2 writes as this character: printable ones of Latin-1 as themselves, the other 68 as the characters
/// from 256 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The byte that a token such as `<0xE6>` stands for.
fn single_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // A sign would be read as well.
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn every_character_of_the_byte_alphabet_is_another_byte() {
        let mut bytes: Vec<_> = ByteLevel::alphabet().into_iter().filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn tokens_stand_for_their_bytes() {
        let check = |pieces: Pieces, token: &str, bytes: &[u8]| assert_eq!(pieces.bytes(token), bytes);
        check(Pieces::ByteLevel, "Ġfox", b" fox");
        check(Pieces::ByteLevel, "Ċ", b"\n");
        check(Pieces::ByteLevel, "æĿ±", "東".as_bytes());
        check(Pieces::ByteLevel, "東", "東".as_bytes());
        let spm = Pieces::SentencePiece { extra_space: true };
        check(spm, "▁fox", b" fox");
        check(spm, "<0xE6>", b"\xe6");
        check(spm, "<0x+6>", b"<0x+6>");
        check(Pieces::WORD_PIECE, "fox", b" fox");
        check(Pieces::WORD_PIECE, "##es", b"es");
        check(Pieces::WORD_PIECE, "'s", b"'s");
    }

    #[test]
    fn a_decoder_of_another_kind_is_refused_by_name() {
        let step = serde_json::from_str::<Decoder>(r#"{"type": "WordPiece", "prefix": "@@"}"#);
        let error = step.ok().and_then(|step| Pieces::of_steps(&[step]).err()).map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("`WordPiece`")));
    }
}
