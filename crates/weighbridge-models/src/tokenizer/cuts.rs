//! How byte-level vocabularies of GGUF files cut a text into words before merging.
//!
//! The file only names the way (`tokenizer.ggml.pre`), and a name stands for what the converter of llama.cpp knows of
//! the model's own tokenizer. The table below lists every name that llama.cpp 0.3.36 of the Python bindings knows
//! (`src/llama-vocab.cpp`) with the expressions of the model's published `tokenizer.json`; where llama.cpp only comes
//! near those, because its own engine lacks a feature, the published ones stand here. A name that is not listed is
//! refused: tokens of a wrong cut look right and are not.

use super::TokenizerError;
use super::gguf::unsupported;

/// How texts of one kind are cut, and what else goes by the kind.
pub(super) struct Cut {
    /// As `tokenizer.ggml.pre` names it.
    names: &'static [&'static str],
    /// Each cuts what the ones before have left.
    pub(super) steps: &'static [Step],
    /// Whether a word that is a token is taken whole, even where merges would not lead to it.
    pub(super) whole_words: bool,
    /// Whether prompts begin with a start token where the file does not say.
    pub(super) starts: bool,
    /// How a word is written in the vocabulary.
    pub(super) writing: Writing,
}

/// How words are written in a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Each byte as one printable character, as GPT-2 does.
    ByteLevel,
    /// As they are, with `▁` for the space, as SentencePiece does.
    Spaces,
}

/// One cut of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// What matches is a word, and so is what lies between.
    Words(&'static str),
    /// Runs of digits in threes, counted from their end.
    Thousands(Digits),
}

/// Which digits [`Step::Thousands`] cuts, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// `\p{N}`; a run stands apart from what is around it.
    Numbers,
    /// `\d{1,3}(?=(?:\d{3})*\b)`: decimal digits, unless a letter follows the run.
    Decimal,
    /// `(?=(\d{3})+(?!\d))`: decimal digits, cut before each three alone.
    DecimalInside,
}

use Step::{Thousands, Words};

const GPT2: Step = Words(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)");
const LLAMA3: Step = Words(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Llama 3 with runs of spaces in powers of two.
const JAIS2: Step = Words(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|",
    r"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|",
    r"\s{1,2}(?!\S)|\s{1}",
));
const QWEN2: Step = Words(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const QWEN35: Step = Words(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Qwen 2 without English contractions, so that Turkish suffixes stay with their apostrophe.
const UFAKZEKA: Step = Words(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");
/// Qwen 2 with whole runs of digits, which a step before has cut.
const MINICPM5: Step = Words(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const SEED_CODER: Step = Words(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const BAILING: Step =
    Words(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+");
const EXAONE_MOE: Step = Words(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
));
const TEKKEN: Step = Words(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
));
const GPT4O: Step = Words(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
));
/// GPT-4o with single digits.
const YOUTU: Step = Words(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
));
/// GPT-4o with runs of Han characters apart (`tokenization_kimi.py`).
const KIMI: Step = Words(concat!(
    r"\p{Han}+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
));
const BLOOM: Step = Words(r" ?[^(\s|.,!?…。，、।۔،)]+");
const EACH_DIGIT: Step = Words(r"\p{N}");
const THREE_DIGITS: Step = Words(r"\p{N}{1,3}");
const LINES: Step = Words(r"[^\n]+|\n+");
/// Han characters and kana.
const HAN: Step = Words(r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+");
/// What DeepSeek LLM and Coder take for scripts without spaces.
const DEEPSEEK_CJK: Step = Words(r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+");
const DEEPSEEK3: Step = Words(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"##,
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
));
/// DeepSeek V3 with each line break apart.
const SPARK: Step = Words(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"##,
    r" ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
));
/// The scripts of Asia that AFMoE keeps apart.
const AFMOE_ASIA: Step = Words(concat!(
    r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}\x{ff65}-\x{ff9f}",
    r"\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}",
    r"\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+",
));
/// The scripts of Asia and their punctuation that Youtu keeps apart.
const YOUTU_ASIA: Step = Words(concat!(
    r"[\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|",
    r"[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014}\x{ff1a}\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|",
    r"[\x{3105}-\x{312f}]+|[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
));
/// The letters of scripts with cases, which `tokenizer.json` of DeepSeek LLM lists one by one. By their numbers, since
/// some of them (the ohm sign, the kelvin sign) turn into others where a text is normalised, as editors do.
const DEEPSEEK_LETTERS: Step = Words(concat!(
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
));

const CUTS: &[Cut] = &[
    Cut {
        names: &["default"],
        steps: &[Words(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, Words(r"\p{N}+"), Words("[0-9][0-9][0-9]")],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        steps: &[GPT2],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[EACH_DIGIT, GPT2],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["falcon"],
        steps: &[Words(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, Words("[0-9][0-9][0-9]")],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        steps: &[LLAMA3],
        whole_words: true,
        starts: true,
        writing: Writing::ByteLevel,
    },
    Cut { names: &["glm4", "glm5"], steps: &[LLAMA3], whole_words: true, starts: false, writing: Writing::ByteLevel },
    Cut {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        steps: &[LLAMA3],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut { names: &["jais-2"], steps: &[JAIS2], whole_words: false, starts: false, writing: Writing::ByteLevel },
    Cut {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        steps: &[QWEN2],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut { names: &["qwen35"], steps: &[QWEN35], whole_words: false, starts: false, writing: Writing::ByteLevel },
    Cut { names: &["ufakzeka"], steps: &[UFAKZEKA], whole_words: false, starts: false, writing: Writing::ByteLevel },
    Cut { names: &["laguna"], steps: &[LINES, QWEN2], whole_words: false, starts: false, writing: Writing::ByteLevel },
    Cut {
        names: &["minicpm5"],
        steps: &[THREE_DIGITS, MINICPM5],
        whole_words: true,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["seed-coder"],
        steps: &[SEED_CODER],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        steps: &[BAILING],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["exaone-moe"],
        steps: &[EXAONE_MOE],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut { names: &["tekken"], steps: &[TEKKEN], whole_words: true, starts: true, writing: Writing::ByteLevel },
    Cut {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        steps: &[GPT4O],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["granite-embed-multi-97m"],
        steps: &[GPT4O],
        whole_words: true,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["tiny_aya", "cohere2moe"],
        steps: &[Thousands(Digits::Decimal), GPT4O],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut { names: &["kimi-k2"], steps: &[KIMI], whole_words: false, starts: false, writing: Writing::ByteLevel },
    Cut {
        names: &["youtu"],
        steps: &[YOUTU_ASIA, YOUTU],
        whole_words: true,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["deepseek-llm"],
        steps: &[
            Words(r"[\r\n]"),
            DEEPSEEK_LETTERS,
            Words(r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+"),
            Words(r"\s+$"),
            DEEPSEEK_CJK,
            Words(r"\p{N}+"),
        ],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["deepseek-coder"],
        steps: &[Words(r"[\r\n]"), Words(r"\s?\p{L}+"), Words(r"\s?\p{P}+"), DEEPSEEK_CJK, EACH_DIGIT],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        steps: &[THREE_DIGITS, HAN, DEEPSEEK3],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["spark2_5"],
        steps: &[THREE_DIGITS, HAN, SPARK, EACH_DIGIT],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["afmoe"],
        steps: &[Thousands(Digits::Numbers), AFMOE_ASIA, DEEPSEEK3],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["superbpe"],
        steps: &[Words(r"\p{N}+"), Thousands(Digits::DecimalInside)],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["poro-chat", "bloom", "gpt3-finnish"],
        steps: &[BLOOM],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["viking"],
        steps: &[BLOOM, EACH_DIGIT],
        whole_words: false,
        starts: false,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["chameleon"],
        steps: &[
            Words("<sentinel:[0-9]+>"),
            Words("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Words(r"([\t\n]|    |  )"),
            EACH_DIGIT,
            Words(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
        whole_words: false,
        starts: true,
        writing: Writing::ByteLevel,
    },
    Cut {
        names: &["gemma4", "granite-embed-multi-311m"],
        steps: &[LINES],
        whole_words: false,
        starts: true,
        writing: Writing::Spaces,
    },
    Cut { names: &["sarvam-moe"], steps: &[LINES], whole_words: false, starts: false, writing: Writing::Spaces },
];

/// The name by which files say that texts are cut by these expressions, one after another, if there is one.
pub(crate) fn name(expressions: &[String], whole_words: bool) -> Option<&'static str> {
    // The last choice of an expression takes the white space that the others leave, and so does what is left over.
    let bare = |expression: &str| expression.strip_suffix(r"|\s+").unwrap_or(expression).to_owned();
    let wanted: Vec<_> = expressions.iter().map(|it| Some(bare(it))).collect();
    let words = |step: &Step| match step {
        Words(expression) => Some(bare(expression)),
        Thousands(_) => None,
    };
    let is = |cut: &&Cut| {
        let same = cut.whole_words == whole_words && cut.writing == Writing::ByteLevel;
        same && cut.steps.iter().map(words).eq(wanted.clone())
    };
    CUTS.iter().find(is)?.names.first().copied()
}

/// The way of cutting that goes by a name.
pub(super) fn find(name: &str) -> Result<&'static Cut, TokenizerError> {
    CUTS.iter().find(|cut| cut.names.contains(&name)).ok_or_else(|| {
        let supported: Vec<_> = CUTS.iter().flat_map(|cut| cut.names).copied().collect();
        unsupported("pre-tokenizer", name, supported.join(", "))
    })
}

/// Every way there is.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Cut> {
    CUTS.iter()
}
