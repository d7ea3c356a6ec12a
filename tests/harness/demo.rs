//! The bundled demo model and what it must say.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// One question to the demo model, with its reference: Hugging Face transformers in float32.
#[derive(Debug)]
pub struct Golden {
    /// The messages.
    pub messages: Value,
    /// The tools, or null.
    pub tools: Value,
    /// The ids of the rendered prompt.
    pub tokens: Vec<u32>,
    /// The logits after the last of them.
    pub logits_last: Vec<f64>,
    /// The most likely id after each of them.
    pub argmax: Vec<u32>,
    /// The log of the sum of exponentials of the logits after each.
    pub logsumexp: Vec<f64>,
    /// The ids of the greedy answer, the one that ends it included.
    pub greedy: Vec<u32>,
    /// The greedy answer.
    pub answer: String,
}

impl Golden {
    /// The question, a line of text.
    pub fn question(&self) -> &str {
        self.messages[0]["content"].as_str().unwrap_or_default()
    }

    /// A request for the greedy answer.
    pub fn body(&self) -> Value {
        let mut body = json!({"model": "demo", "messages": self.messages, "temperature": 0});
        if !self.tools.is_null() {
            body["tools"] = self.tools.clone();
        }
        body
    }
}

/// A request that asks `model` something, for the likeliest answer.
pub fn ask(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0})
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// The demo model's folder.
pub fn demo_folder() -> PathBuf {
    repository().join("models/demo")
}

/// The same weights in one file.
pub fn demo_gguf() -> PathBuf {
    demo_folder().join("demo.gguf")
}

/// Every question of the demo model's README.
pub fn goldens() -> &'static [Golden] {
    static GOLDENS: OnceLock<Vec<Golden>> = OnceLock::new();
    GOLDENS.get_or_init(|| {
        let text = std::fs::read_to_string(demo_folder().join("golden.json")).expect("it is in the repository");
        let cases: Vec<Value> = serde_json::from_str(&text).expect("it is a list");
        cases.iter().map(golden).collect()
    })
}

fn golden(case: &Value) -> Golden {
    Golden {
        messages: case["messages"].clone(),
        tools: case["tools"].clone(),
        tokens: ids(&case["tokens"]),
        logits_last: numbers(&case["logits_last"]),
        argmax: ids(&case["argmax"]),
        logsumexp: numbers(&case["logsumexp"]),
        greedy: ids(&case["greedy"]),
        answer: case["answer"].as_str().unwrap_or_default().to_owned(),
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn ids(list: &Value) -> Vec<u32> {
    let numbers = list.as_array().into_iter().flatten().filter_map(Value::as_u64);
    numbers.filter_map(|id| u32::try_from(id).ok()).collect()
}
