//! `weighbridge models list`: the models of the config, those that were pulled, and those that can be.

use comfy_table::Table;
use serde_json::{Value, json};
use weighbridge_models::Checkpoint;

use super::{context, memory, quantisation, to_json};
use crate::config::{Config, ModelConfig, ModelPath, Source};
use crate::failure::Failure;
use crate::terminal::say;
use crate::{hub, local, terminal};

pub(super) fn run(source: &Source, as_json: bool) -> Result<(), Failure> {
    let (models, origin) = match source {
        Source::None => (vec![local::demo()], "built in"),
        Source::File(path, _) => (Config::read(path).map_err(Failure::Config)?.models, "config"),
    };
    let mut table = terminal::table(&[
        "model",
        "architecture",
        "parameters",
        "quantisation",
        "context",
        "licence",
        "memory",
        "from",
    ]);
    let mut list = Vec::with_capacity(models.len());
    for model in &models {
        let checkpoint = local::open_model(model)?;
        list.push(add(&mut table, model, &checkpoint, origin, None));
    }
    list.extend(pulled(&mut table)?);
    if as_json {
        say!("{:#}", Value::Array(list));
    } else {
        say!("{table}");
    }
    Ok(())
}

/// Adds what was pulled. What cannot be opened is listed with its reason: it takes room all the same.
fn pulled(table: &mut Table) -> Result<Vec<Value>, Failure> {
    let store = hub::store()?;
    let mut list = Vec::new();
    for (repo, record) in store.list().map_err(Failure::failed)? {
        for source in store.models(&repo, &record) {
            let from = source.to_string();
            let opened = store.find(&source).map_err(Failure::failed).and_then(|found| {
                let path = ModelPath::At(found.path.clone());
                Ok((local::open(&path)?, local::unnamed(local::file_name(&found.path), path)))
            });
            match opened {
                Ok((checkpoint, model)) => {
                    list.push(add(table, &model, &checkpoint, &from, record.licence.as_deref()));
                }
                Err(failure) => {
                    let reason = failure.to_string();
                    table.add_row([
                        repo.name(),
                        &reason,
                        "",
                        "",
                        "",
                        record.licence.as_deref().unwrap_or(""),
                        "",
                        &from,
                    ]);
                    list.push(json!({ "model": repo.name(), "from": from, "error": reason }));
                }
            }
        }
    }
    Ok(list)
}

fn add(table: &mut Table, model: &ModelConfig, checkpoint: &Checkpoint, from: &str, licence: Option<&str>) -> Value {
    let summary = checkpoint.summary();
    table.add_row([
        model.name.clone(),
        summary.architecture.clone(),
        terminal::parameters(summary.parameters),
        quantisation(model, &summary),
        context(model, &summary).to_string(),
        summary.licence.clone().or(licence.map(str::to_owned)).unwrap_or_else(|| "not stated".to_owned()),
        terminal::bytes(memory(model, checkpoint, &summary)),
        from.to_owned(),
    ]);
    let mut value = to_json(model, checkpoint, &summary);
    value["from"] = from.into();
    value
}

/// The models with short names.
pub(super) fn known(as_json: bool) -> Result<(), Failure> {
    let known = hub::known()?;
    let mut table = terminal::table(&["name", "family", "source", "context", "licence", "class", "token"]);
    let mut list = Vec::new();
    for (family, model) in known.models() {
        let (source, licence, class) = (model.source.to_string(), &model.licence, model.class.to_string());
        let token = if model.gated { "needed" } else { "" };
        table.add_row([&model.name, family, &source, &model.context.to_string(), licence, &class, token]);
        list.push(json!({
            "name": model.name, "family": family, "source": source, "context": model.context, "licence": licence,
            "class": class, "conditions": model.conditions, "gated": model.gated, "template": model.template,
        }));
    }
    if as_json {
        say!("{:#}", Value::Array(list));
    } else {
        say!("{table}");
    }
    Ok(())
}
