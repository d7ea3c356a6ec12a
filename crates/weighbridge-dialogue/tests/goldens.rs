//! Templates of real models against what Hugging Face transformers renders for them.
//!
//! The demo model's template stands in the repository; the others are among the references beside the
//! project.

use std::error::Error;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use serde_json::{Map, Value};
use weighbridge_dialogue::{ChatTemplate, Conversation, TemplateError, ToolFormat};

type Tested = Result<(), Box<dyn Error>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The references, where they are present.
fn references() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIGHBRIDGE_SHARED").map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let folder = shared.join("goldens/chat-templates");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no references in {}", folder.display());
    None
}

fn read_json(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn special_tokens(tokens: &Value) -> Vec<(String, String)> {
    let tokens = tokens.as_object().into_iter().flatten();
    tokens.filter_map(|(name, token)| Some((name.clone(), token.as_str()?.into()))).collect()
}

fn list(value: &Value) -> Option<Vec<Value>> {
    value.as_array().cloned()
}

fn render(template: &ChatTemplate, case: &Value) -> Result<String, TemplateError> {
    let known = ["case", "messages", "tools", "add_generation_prompt", "text", "error"];
    let extra = case.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()));
    template.render(&Conversation {
        messages: list(&case["messages"]).unwrap_or_default(),
        tools: list(&case["tools"]),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(true),
        extra: extra.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>(),
        now: date(2026, 11, 23).at(12, 0, 0, 0),
    })
}

/// What is wrong with a case, if anything.
fn fault(template: &Result<ChatTemplate, TemplateError>, case: &Value) -> Option<String> {
    let written = template.as_ref().map_err(TemplateError::clone).and_then(|template| render(template, case));
    match (written, case["text"].as_str(), case["error"].as_str()) {
        (Ok(text), Some(expected), _) if text == expected => None,
        (Ok(text), Some(expected), _) => Some(format!("expected {expected:?}\n   wrote {text:?}")),
        (Ok(text), None, error) => Some(format!("expected the error {error:?}, wrote {text:?}")),
        (Err(error), Some(_), _) => Some(error.to_string()),
        (Err(error), None, Some(expected)) if error.refused != expected.starts_with("TemplateError") => {
            Some(format!("expected {expected}, got {error}"))
        }
        (Err(_), None, _) => None,
    }
}

#[test]
fn templates_of_real_models_are_written_as_transformers_writes_them() -> Tested {
    let Some(folder) = references() else { return Ok(()) };
    let (mut cases, mut faults) = (0, Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jinja") {
            continue;
        }
        let golden = read_json(&path.with_extension("json"))?;
        let template = ChatTemplate::new(&std::fs::read_to_string(&path)?, &special_tokens(&golden["tokens"]));
        for case in list(&golden["cases"]).unwrap_or_default() {
            cases += 1;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            faults.extend(fault(&template, &case).map(|fault| format!("{name} {}: {fault}", case["case"])));
        }
    }
    assert!(faults.is_empty(), "{} of {cases} cases differ:\n{}", faults.len(), faults.join("\n"));
    assert!(cases > 0);
    Ok(())
}

#[test]
fn the_demo_model_is_prompted_as_it_was_trained() -> Tested {
    let folder = workspace().join("models/demo");
    let config = read_json(&folder.join("tokenizer_config.json"))?;
    let template = ChatTemplate::new(config["chat_template"].as_str().unwrap_or_default(), &special_tokens(&config))?;
    assert_eq!(template.tool_format(), Some(ToolFormat::Hermes));
    assert!(template.takes_tools());
    let cases = list(&read_json(&folder.join("golden.json"))?).unwrap_or_default();
    assert!(cases.iter().any(|case| case["tools"].is_array()));
    for case in cases {
        assert_eq!(Ok(case["prompt"].as_str().unwrap_or_default()), render(&template, &case).as_deref());
    }
    Ok(())
}
