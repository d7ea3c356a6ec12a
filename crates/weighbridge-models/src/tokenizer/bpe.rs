//! Byte-level pair encodings of GGUF files (model `gpt2`).
//!
//! The file has vocabulary and merges; how a text is cut into words before merging it only names
//! (`tokenizer.ggml.pre`). The expressions are those of the families' published `tokenizer.json`.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::TokenizerError;
use super::gguf::{Vocabulary, build_error, unsupported};
use super::pieces::Pieces;
use crate::gguf::{Gguf, GgufError};

/// How texts of one family are cut, and what else goes by the family.
struct Cut {
    /// As `tokenizer.ggml.pre` names it.
    names: &'static [&'static str],
    /// Each cuts what the ones before have left; what matches and what lies between are words.
    expressions: &'static [&'static str],
    /// Whether a word that is a token is taken whole, even where merges would not lead to it.
    whole_words: bool,
    /// Whether prompts begin with a start token where the file does not say.
    starts: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The letters of scripts with cases, which `tokenizer.json` of DeepSeek LLM lists one by one. By their numbers, since
/// some of them (the ohm sign, the kelvin sign) turn into others where a text is normalised, as editors do.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}",
    r"\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}",
    r"\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}",
    r"\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}",
    r"\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}",
    r"\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}",
    r"\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}",
    r"\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}",
    r"\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}",
    r"\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}",
    r"\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}",
    r"\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+",
);

const CUTS: [Cut; 6] = [
    Cut { names: &["gpt-2", "olmo", "jais"], expressions: &[GPT2], whole_words: false, starts: false },
    Cut {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        starts: false,
    },
    Cut { names: &["llama-bpe", "llama3", "llama-v3"], expressions: &[LLAMA3], whole_words: true, starts: true },
    Cut {
        names: &["smollm", "command-r", "starcoder", "refact", "codeshell", "exaone"],
        expressions: &[r"\p{N}", GPT2],
        whole_words: false,
        starts: false,
    },
    Cut { names: &["qwen2", "deepseek-r1-qwen"], expressions: &[QWEN2], whole_words: false, starts: false },
    Cut {
        names: &["deepseek-llm"],
        expressions: &[
            "[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+",
            r"\s+$",
            r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
            r"\p{N}+",
        ],
        whole_words: false,
        starts: false,
    },
];

/// The tokenizer, how it writes bytes, and whether prompts begin with a start token by default.
pub(super) fn build(
    file: &Gguf,
    vocabulary: &Vocabulary<'_>,
) -> Result<(tokenizers::Tokenizer, Pieces, bool), TokenizerError> {
    let cut = find(file.string("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let model = BPE::builder().vocab_and_merges(vocabulary.ids(), merges(file)?).ignore_merges(cut.whole_words);
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(build_error)?);
    tokenizer.with_pre_tokenizer(Some(words(cut)?));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok((tokenizer, Pieces::ByteLevel, cut.starts))
}

/// The name by which files say that texts are cut by these expressions, one after another, if there is one.
pub(crate) fn name(expressions: &[String], whole_words: bool) -> Option<&'static str> {
    // The last choice of an expression takes the white space that the others leave, and so does what is left over.
    let bare = |expression: &str| expression.strip_suffix(r"|\s+").unwrap_or(expression).to_owned();
    let wanted: Vec<_> = expressions.iter().map(|it| bare(it)).collect();
    let is =
        |cut: &&Cut| cut.whole_words == whole_words && cut.expressions.iter().map(|it| bare(it)).eq(wanted.clone());
    CUTS.iter().find(is)?.names.first().copied()
}

fn find(name: &str) -> Result<&'static Cut, TokenizerError> {
    CUTS.iter().find(|cut| cut.names.contains(&name)).ok_or_else(|| {
        let supported: Vec<_> = CUTS.iter().flat_map(|cut| cut.names).copied().collect();
        unsupported("pre-tokenizer", name, supported.join(", "))
    })
}

fn merges(file: &Gguf) -> Result<Merges, GgufError> {
    const MERGES: &str = "tokenizer.ggml.merges";
    let merges = file.strings(MERGES)?.ok_or_else(|| GgufError::Missing(MERGES.to_owned()))?;
    let pair = |merge: &str| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    let pairs: Option<_> = merges.into_iter().map(pair).collect();
    pairs.ok_or_else(|| GgufError::field(MERGES, "has a merge that is no pair"))
}

fn words(cut: &Cut) -> Result<Sequence, TokenizerError> {
    let split = |expression: &&str| -> Result<PreTokenizerWrapper, TokenizerError> {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(build_error)?;
        Ok(split.into())
    };
    let mut steps = cut.expressions.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(Sequence::new(steps))
}
