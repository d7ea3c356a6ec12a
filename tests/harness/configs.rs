//! Pieces of configs, put together by each test.

use crate::{Upstream, demo_folder};

/// The demo model, under the name `demo`.
pub fn demo_model() -> String {
    format!("[[models]]\nname = \"demo\"\npath = {:?}\n", demo_folder().display().to_string())
}

/// A provider `name` at `upstream` with the model `NAME/large`, cleared for internal requests; `settings` are
/// further lines of it. A `base_url` or `clearance` among them replaces the one here.
pub fn provider(name: &str, upstream: &Upstream, settings: &str) -> String {
    provider_at(name, &upstream.base_url(), settings)
}

fn provider_at(name: &str, base_url: &str, settings: &str) -> String {
    let has = |key: &str| settings.lines().any(|line| line.trim_start().starts_with(key));
    let mut text = format!("[[providers]]\nname = {name:?}\nkind = \"openai\"\n");
    for (key, line) in [
        ("base_url", format!("base_url = {base_url:?}\n")),
        ("clearance", "clearance = \"internal\"\n".to_owned()),
        ("models", format!("models = [{}]\n", hosted_model("large"))),
    ] {
        if !has(key) {
            text += &line;
        }
    }
    text + settings + "\n"
}

/// A hosted model that costs a dollar for a million tokens in and two for a million out.
pub fn hosted_model(name: &str) -> String {
    format!("{{ name = {name:?}, input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0, context = 8000000 }}")
}

/// A route `main` that takes every model's name and asks `backends` in their order; `settings` are further
/// lines of it.
pub fn route(backends: &[&str], settings: &str) -> String {
    let prefer = if settings.contains("prefer") { "" } else { "prefer = \"order\"\n" };
    format!(
        "[[routes]]\nname = \"main\"\nmatch = {{ models = [\"auto\", \"demo\", \"*/*\"] }}\nbackends = {backends:?}\n{prefer}{settings}\n"
    )
}
