//! The chat template of a folder and the special tokens that it may name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::SMALL_FILE_BYTES_MAX;
use crate::checkpoint::files::Files;
use crate::checkpoint::{ChatTemplateSource, CheckpointProblem};

/// `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Template>,
    #[serde(flatten)]
    others: BTreeMap<String, Json>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// The template: `chat_template.jinja` where there is one, as newer checkpoints have it, else the one in
/// `tokenizer_config.json`, of several the one named `default`.
pub(super) fn read(files: &Files) -> Result<Option<ChatTemplateSource>, CheckpointProblem> {
    let config: TokenizerConfig = files.json("tokenizer_config.json", SMALL_FILE_BYTES_MAX)?.unwrap_or_default();
    let own_file = files.text("chat_template.jinja", SMALL_FILE_BYTES_MAX)?;
    let template = own_file.or_else(|| config.chat_template.and_then(Template::default_one));
    let special_tokens = special_tokens(&config.others);
    Ok(template.map(|template| ChatTemplateSource { template, special_tokens }))
}

/// The special tokens of a folder, whether or not it has a template that may name them.
pub(in crate::checkpoint) fn special(files: &Files) -> Result<Vec<(String, String)>, CheckpointProblem> {
    let config: TokenizerConfig = files.json("tokenizer_config.json", SMALL_FILE_BYTES_MAX)?.unwrap_or_default();
    Ok(special_tokens(&config.others))
}

impl Template {
    fn default_one(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(all) => all.into_iter().find(|it| it.name == "default").map(|it| it.template),
        }
    }
}

/// `bos_token` and its like, written as a text or as an object with the text in `content`.
fn special_tokens(config: &BTreeMap<String, Json>) -> Vec<(String, String)> {
    let named = config.iter().filter(|(key, _)| key.ends_with("_token"));
    let text = |value: &Json| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    named.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(config: Json, template: Option<&str>, special: &[(&str, &str)]) -> Result<(), serde_json::Error> {
        let config = TokenizerConfig::deserialize(config)?;
        let owned = |&(key, token): &(&str, &str)| (key.to_owned(), token.to_owned());
        assert_eq!(special_tokens(&config.others), special.iter().map(owned).collect::<Vec<_>>());
        assert_eq!(config.chat_template.and_then(Template::default_one).as_deref(), template);
        Ok(())
    }

    #[test]
    fn of_several_templates_the_default_is_taken() -> Result<(), serde_json::Error> {
        let named = json!([{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]);
        check(json!({"chat_template": named}), Some("d"), &[])?;
        check(json!({"chat_template": "one"}), Some("one"), &[])?;
        check(json!({}), None, &[])
    }

    #[test]
    fn special_tokens_are_taken_from_texts_and_objects() -> Result<(), serde_json::Error> {
        let config = json!({
            "bos_token": {"content": "<s>", "lstrip": false},
            "eos_token": "</s>",
            "pad_token": null,
            "add_bos_token": true,
        });
        check(config, None, &[("bos_token", "<s>"), ("eos_token", "</s>")])
    }
}
