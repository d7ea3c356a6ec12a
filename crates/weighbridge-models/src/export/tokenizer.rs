//! The tokenizer of a `tokenizer.json` as GGUF metadata: byte-level pair encodings (model `gpt2`) and those that
//! transformers makes of SentencePiece (model `llama`).

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{Folder, Inexpressible, Vocabulary, inexpressible};
use crate::gguf::GgufHeader;
use crate::tokenizer::pre_tokenizer_name;

/// The kinds of tokens, by their numbers in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Of tokens that no merge makes, which readers must not prefer to any that one does.
const SCORE_LEAST: f32 = -1e9;

/// What cuts a text into words before it is merged in byte-level encodings that name no expression of their own.
const BYTE_LEVEL: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

pub(super) fn write(header: &mut GgufHeader, folder: &Folder<'_>) -> Result<(), Inexpressible> {
    let Some(vocabulary) = &folder.tokenizer else {
        // Readers then take token ids alone.
        header.text("tokenizer.ggml.model", "none");
        return Ok(());
    };
    let json = vocabulary.json;
    let model = &json["model"];
    if model["type"].as_str() != Some("BPE") {
        return Err(unsupported("model.type", &model["type"]));
    }
    let tokens = Tokens::read(json, folder.spec.vocabulary)?;
    let merges = merges(model)?;
    if model["byte_fallback"].as_bool() == Some(true) {
        sentence_piece(header, json, tokens, &merges)?;
    } else {
        byte_level(header, json, &tokens, &merges)?;
    }
    special(header, vocabulary)
}

/// All tokens by their ids.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
}

impl Tokens {
    fn read(json: &Json, size: usize) -> Result<Self, Inexpressible> {
        let mut texts: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![UNUSED; size];
        let mut put = |id: &Json, text: &str, kind: i32| {
            let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < size);
            let place = place.ok_or_else(|| {
                inexpressible("tokenizer.json", &format!("has a token {id}, and the model has {size} of them"))
            })?;
            text.clone_into(&mut texts[place]);
            kinds[place] = kind;
            Ok(())
        };
        let Some(vocabulary) = json["model"]["vocab"].as_object() else {
            return Err(unsupported("model.vocab", &Json::Null));
        };
        let unknown = json["model"]["unk_token"].as_str();
        for (text, id) in vocabulary {
            put(id, text, if Some(text.as_str()) == unknown { UNKNOWN } else { NORMAL })?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let text = added["content"].as_str().unwrap_or_default();
            let is_special = added["special"].as_bool() == Some(true);
            let kind = match (is_special, Some(text) == unknown) {
                (_, true) => UNKNOWN,
                (true, _) => CONTROL,
                (false, _) => USER_DEFINED,
            };
            put(&added["id"], text, kind)?;
        }
        Ok(Self { texts, kinds })
    }
}

/// The pairs that are merged, best first, written as `["a", "b"]` or `"a b"`.
fn merges<'a>(model: &'a Json) -> Result<Vec<(&'a str, &'a str)>, Inexpressible> {
    let wrong = || inexpressible("tokenizer.json", "has merges that are no pairs");
    let list = model["merges"].as_array().ok_or_else(wrong)?;
    let both = |merge: &'a Json| match merge {
        Json::String(text) => text.split_once(' '),
        Json::Array(pair) => match pair.as_slice() {
            [Json::String(left), Json::String(right)] => Some((left.as_str(), right.as_str())),
            _ => None,
        },
        _ => None,
    };
    list.iter().map(both).collect::<Option<_>>().ok_or_else(wrong)
}

fn byte_level(
    header: &mut GgufHeader,
    json: &Json,
    tokens: &Tokens,
    merges: &[(&str, &str)],
) -> Result<(), Inexpressible> {
    if !json["normalizer"].is_null() && json["normalizer"]["type"].as_str() != Some("NFC") {
        return Err(unsupported("normalizer", &json["normalizer"]["type"]));
    }
    let expressions = expressions(&json["pre_tokenizer"])?;
    let whole_words = json["model"]["ignore_merges"].as_bool() == Some(true);
    let name = pre_tokenizer_name(&expressions, whole_words).ok_or_else(|| {
        let problem = "cuts texts in a way that gguf files have no name for, as far as is known here";
        inexpressible("the tokenizer's pre_tokenizer", problem)
    })?;
    if merges.iter().any(|(left, right)| left.contains(' ') || right.contains(' ')) {
        return Err(inexpressible("tokenizer.json", "has merges with spaces, which gguf files cannot say"));
    }
    header.text("tokenizer.ggml.model", "gpt2");
    header.text("tokenizer.ggml.pre", name);
    header.texts("tokenizer.ggml.tokens", tokens.texts.iter().map(String::as_str));
    header.i32s("tokenizer.ggml.token_type", &tokens.kinds);
    let merges: Vec<String> = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    header.texts("tokenizer.ggml.merges", merges.iter().map(String::as_str));
    Ok(())
}

/// The expressions that cut a text into words, one after another.
fn expressions(pre_tokenizer: &Json) -> Result<Vec<String>, Inexpressible> {
    let alone = [pre_tokenizer.clone()];
    let steps = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice),
        _ => &alone,
    };
    let mut expressions = Vec::new();
    for step in steps {
        let is = |field: &str, value: bool| step[field].as_bool() == Some(value);
        match step["type"].as_str() {
            Some("Split") if step["behavior"].as_str() == Some("Isolated") && !is("invert", true) => {
                let Some(expression) = step["pattern"]["Regex"].as_str() else {
                    return Err(unsupported("pre_tokenizer", &step["pattern"]));
                };
                expressions.push(expression.to_owned());
            }
            Some("Digits") if is("individual_digits", true) => expressions.push(r"\p{N}".to_owned()),
            Some("ByteLevel") if is("add_prefix_space", false) => {
                if !is("use_regex", false) {
                    expressions.push(BYTE_LEVEL.to_owned());
                }
            }
            _ => return Err(unsupported("pre_tokenizer", step)),
        }
    }
    Ok(expressions)
}

/// Readers merge the neighbours whose union scores best, so a token scores by the first merge that makes it.
fn sentence_piece(
    header: &mut GgufHeader,
    json: &Json,
    mut tokens: Tokens,
    merges: &[(&str, &str)],
) -> Result<(), Inexpressible> {
    let begins_with_space = begins_with_space(json)?;
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let mut scores = vec![0.0; tokens.texts.len()];
    for ((text, kind), score) in tokens.texts.iter_mut().zip(&mut tokens.kinds).zip(&mut scores) {
        if *kind == NORMAL && is_byte(text) {
            *kind = BYTE;
        }
        if *kind == NORMAL {
            *score = ranks.get(text.as_str()).map_or(SCORE_LEAST, |&rank| -(rank as f32));
        }
        if *kind == USER_DEFINED {
            // Texts are searched for these before spaces are rewritten.
            *text = text.replace('▁', " ");
        }
    }
    header.text("tokenizer.ggml.model", "llama");
    header.text("tokenizer.ggml.pre", "default");
    header.texts("tokenizer.ggml.tokens", tokens.texts.iter().map(String::as_str));
    header.f32s("tokenizer.ggml.scores", &scores);
    header.i32s("tokenizer.ggml.token_type", &tokens.kinds);
    header.flag("tokenizer.ggml.add_space_prefix", begins_with_space);
    Ok(())
}

/// Whether a text gets a space in front.
fn begins_with_space(json: &Json) -> Result<bool, Inexpressible> {
    let (normalizer, words) = (&json["normalizer"], &json["pre_tokenizer"]);
    let steps = match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice),
        Some(_) => std::slice::from_ref(normalizer),
        None => &[],
    };
    let mut begins = words["type"].as_str() == Some("Metaspace") && words["prepend_scheme"].as_str() != Some("never");
    for step in steps {
        match step["type"].as_str() {
            Some("Prepend") => begins = true,
            Some("Replace") if step["pattern"]["String"].as_str() == Some(" ") => {}
            _ => return Err(unsupported("normalizer", &step["type"])),
        }
    }
    Ok(begins)
}

/// Whether a token stands for one byte, as in `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn special(header: &mut GgufHeader, vocabulary: &Vocabulary<'_>) -> Result<(), Inexpressible> {
    const KEYS: [(&str, &str); 4] =
        [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];
    let mut has_end = false;
    for (name, key) in KEYS {
        let token = vocabulary.special_tokens.iter().find(|(other, _)| other == name);
        if let Some(id) = token.and_then(|(_, token)| id_of(vocabulary.json, token)) {
            header.u32(&format!("tokenizer.ggml.{key}_token_id"), id);
            has_end |= key == "eos";
        }
    }
    if let (false, Some(&end)) = (has_end, vocabulary.stop_tokens.first()) {
        header.u32("tokenizer.ggml.eos_token_id", end);
    }
    if vocabulary.before.len() > 1 || vocabulary.after.len() > 1 {
        let problem = "puts several tokens around a prompt, where gguf files know one";
        return Err(inexpressible("the tokenizer's post_processor", problem));
    }
    header.flag("tokenizer.ggml.add_bos_token", !vocabulary.before.is_empty());
    header.flag("tokenizer.ggml.add_eos_token", !vocabulary.after.is_empty());
    if let Some(template) = vocabulary.chat_template {
        header.text("tokenizer.chat_template", template);
    }
    Ok(())
}

fn id_of(json: &Json, token: &str) -> Option<u32> {
    let added = json["added_tokens"].as_array()?.iter().find(|added| added["content"].as_str() == Some(token));
    let id = added.map_or(&json["model"]["vocab"][token], |added| &added["id"]);
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn unsupported(part: &str, found: &Json) -> Inexpressible {
    let shown: String = found.to_string().chars().take(96).collect();
    inexpressible(format!("the tokenizer's {part}"), &format!("is {shown}, which cannot be written as gguf yet"))
}
