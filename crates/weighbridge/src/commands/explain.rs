//! `weighbridge explain`: the plan of a request that is not sent.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use weighbridge_backend::{Backend, PromptCount};
use weighbridge_engine::UnloadedModel;
use weighbridge_gateway::{Callers, Explanation, Gateway, Options};
use weighbridge_ledger::Ledger;
use weighbridge_policy::{CallerFacts, Choice, FirstToken, Plan};

use super::serve::hosted;
use crate::cli::ExplainArguments;
use crate::config::{Config, Source};
use crate::failure::Failure;
use crate::terminal::say;
use crate::{local, terminal};

/// What becomes of the weights of each local model as they load, in words.
type Changes = BTreeMap<String, String>;

pub(crate) fn run(source: &Source, arguments: &ExplainArguments) -> Result<(), Failure> {
    let config = match source {
        Source::File(path, _) => Config::read(path).map_err(Failure::Config)?,
        Source::None => Config::without_file(vec![local::demo()]),
    };
    let body = read_body(arguments.file.as_deref())?;
    let headers = read_headers(arguments)?;
    let caller = find_caller(&config.callers, arguments.caller.as_deref())?;
    let changes: Changes = config.models.iter().map(|model| (model.name.clone(), local::changes(model))).collect();
    let gateway = gateway(config)?;
    match gateway.explain(&body, &headers, caller.as_deref()) {
        Ok(explanation) if arguments.json => say!("{:#}", to_json(&explanation, &changes)),
        Ok(explanation) => print(&explanation, &changes),
        Err((status, error)) if arguments.json => say!("{:#}", json!({"refusal": refusal(status, &error)})),
        Err((status, error)) => print_refusal(status, &error),
    }
    Ok(())
}

/// A gateway that can plan: local models without their weights, a ledger that nothing is written to.
fn gateway(config: Config) -> Result<Gateway, Failure> {
    let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
    for (model, _) in local::plan(&config)?.models() {
        let unloaded = UnloadedModel::open(&model.options)
            .map_err(|error| Failure::failed(format!("cannot open the model \"{}\": {error}", model.options.id)))?;
        backends.push(Arc::new(unloaded));
    }
    for provider in &config.providers {
        backends.extend(hosted(provider)?);
    }
    Ok(Gateway::new(Options {
        routes: config.routes,
        backends,
        models: None,
        providers: config.providers.iter().map(|provider| provider.options.name.clone()).collect(),
        callers: config.callers,
        ledger: Ledger::in_memory().map_err(Failure::failed)?,
        limits: config.limits,
    }))
}

fn read_body(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut body)),
        None => std::io::stdin().read_to_end(&mut body),
    }
    .map_err(|error| Failure::usage(format!("cannot read the request: {error}")))?;
    Ok(body)
}

fn read_headers(arguments: &ExplainArguments) -> Result<HeaderMap, Failure> {
    let class = arguments.class.as_ref().map(|class| format!("x-weighbridge-class: {class}"));
    let mut headers = HeaderMap::new();
    for header in arguments.headers.iter().chain(&class) {
        let pair = header.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) =
            pair.ok_or_else(|| Failure::usage(format!("\"{header}\" is no header; write NAME: VALUE")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn find_caller(callers: &Callers, name: Option<&str>) -> Result<Option<Arc<CallerFacts>>, Failure> {
    let known: &[_] = if let Callers::Keys(callers) = callers { callers } else { &[] };
    let Some(name) = name else { return Ok(None) };
    let found = known.iter().find(|caller| &*caller.facts.name == name);
    let all: Vec<&str> = known.iter().map(|caller| &*caller.facts.name).collect();
    let caller = found
        .ok_or_else(|| Failure::usage(format!("there is no caller named \"{name}\"; there are: {}", all.join(", "))))?;
    Ok(Some(Arc::clone(&caller.facts)))
}

fn print(explanation: &Explanation, changes: &Changes) {
    let Plan { route, class, prefer, attempts, excluded, .. } = &explanation.plan;
    say!("route {route}   class {class}   prefers {prefer}\n");
    let mut table = terminal::table(&["order", "backend", "estimated cost", "prompt", "why"]);
    for (place, choice) in (1..).zip(attempts) {
        let hints = if choice.unused_hints.is_empty() {
            String::new()
        } else {
            format!("; hints it cannot use: {}", choice.unused_hints.join(", "))
        };
        table.add_row([
            format!("{place}"),
            shown(choice.backend.as_str(), changes),
            format!("{} USD", choice.estimated_cost),
            prompt(choice),
            format!("{}{hints}", choice.reason),
        ]);
    }
    for exclusion in excluded {
        let reasons: Vec<String> = exclusion.reasons.iter().map(ToString::to_string).collect();
        table.add_row(["out", &exclusion.backend.to_string(), "", "", &reasons.join("; ")]);
    }
    say!("{table}");
    if let Some((status, error)) = &explanation.refusal {
        print_refusal(*status, error);
    }
}

/// A backend, and what becomes of its weights as they load.
fn shown(backend: &str, changes: &Changes) -> String {
    match changes.get(backend).filter(|changes| !changes.is_empty()) {
        Some(changes) => format!("{backend} ({changes})"),
        None => backend.to_owned(),
    }
}

fn prompt(choice: &Choice) -> String {
    let cached = match choice.cached_tokens {
        0 => String::new(),
        cached => format!(", {cached} of them computed already"),
    };
    match choice.prompt_tokens {
        Some(PromptCount::Exact(tokens)) => format!("{tokens} tokens{cached}"),
        Some(PromptCount::Estimate(tokens)) => format!("about {tokens} tokens{cached}"),
        None => "not counted".to_owned(),
    }
}

fn print_refusal(status: u16, error: &str) {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    let message = error["error"]["message"].as_str().unwrap_or_default();
    let code = error["error"]["code"].as_str().unwrap_or("no code");
    say!("\x1b[1;31mno backend would be asked\x1b[0m; the caller would get {status} ({code}): {message}");
}

fn to_json(explanation: &Explanation, changes: &Changes) -> Value {
    let plan = &explanation.plan;
    let attempts: Vec<Value> =
        (1..).zip(&plan.attempts).map(|(place, choice)| attempt(place, choice, changes)).collect();
    let excluded: Vec<Value> = plan
        .excluded
        .iter()
        .map(|exclusion| {
            let reasons: Vec<String> = exclusion.reasons.iter().map(ToString::to_string).collect();
            json!({"backend": exclusion.backend.as_str(), "reasons": reasons})
        })
        .collect();
    json!({
        "route": &*plan.route,
        "class": plan.class.as_str(),
        "prefer": plan.prefer.as_str(),
        "attempts": attempts,
        "excluded": excluded,
        "refusal": explanation.refusal.as_ref().map(|(status, error)| refusal(*status, error)),
    })
}

fn attempt(place: usize, choice: &Choice, changes: &Changes) -> Value {
    let exact = choice.prompt_tokens.map(|count| matches!(count, PromptCount::Exact(_)));
    json!({
        "order": place,
        "backend": choice.backend.as_str(),
        "weights": changes.get(choice.backend.as_str()).filter(|changes| !changes.is_empty()),
        "estimated_cost_usd": choice.estimated_cost.to_string(),
        "prompt_tokens": choice.prompt_tokens.map(PromptCount::tokens),
        "prompt_tokens_exact": exact,
        "cached_tokens": choice.cached_tokens,
        "first_token_ms": choice.first_token.map(|first| milliseconds(first.time())),
        "first_token_predicted": choice.first_token.map(|first| matches!(first, FirstToken::Predicted(_))),
        "compute_ms": choice.compute_time.map(milliseconds),
        "unused_hints": choice.unused_hints,
        "reason": choice.reason,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn refusal(status: u16, error: &str) -> Value {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    json!({"status": status, "error": error["error"]})
}
