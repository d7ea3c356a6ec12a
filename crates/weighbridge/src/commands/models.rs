//! `weighbridge models`: what there is, what it is, and how it comes and goes.

mod kept;
mod list;
mod pull;
mod running;

use serde_json::{Value, json};
use weighbridge_models::{AdapterSummary, Checkpoint, Compute, Summary, Tier};

use crate::cli::ModelsCommand;
use crate::config::{ModelConfig, Source};
use crate::failure::Failure;
use crate::terminal::say;
use crate::{local, terminal};

pub(crate) fn run(source: &Source, command: ModelsCommand) -> Result<(), Failure> {
    match command {
        ModelsCommand::List { known: true, json } => list::known(json),
        ModelsCommand::List { known: false, json } => list::run(source, json),
        ModelsCommand::Inspect { model, weights, json } => {
            inspect(&local::with_weights(local::find(&model, source)?, &weights), json)
        }
        ModelsCommand::Quantize(arguments) => super::quantize::run(&arguments),
        ModelsCommand::Pull(arguments) => pull::run(source, &arguments),
        ModelsCommand::Verify { model } => kept::verify(model.as_deref()),
        ModelsCommand::Remove { model } => kept::remove(&model),
        ModelsCommand::Status { model, gateway, json } => running::status(source, model.as_deref(), &gateway, json),
        ModelsCommand::Load { model, gateway } => running::load(source, &model, &gateway),
        ModelsCommand::Unload { model, gateway } => running::unload(source, &model, &gateway),
    }
}

fn inspect(model: &ModelConfig, as_json: bool) -> Result<(), Failure> {
    let checkpoint = local::open_model(model)?;
    let summary = checkpoint.summary();
    if as_json {
        say!("{:#}", to_json(model, &checkpoint, &summary));
        return Ok(());
    }
    let mut table = terminal::pairs();
    let tensors: Vec<String> = summary.tensors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let tokenizer = match checkpoint.tokenizer() {
        Ok(tokenizer) => format!("{} tokens", tokenizer.size()),
        Err(error) => format!("none ({error})"),
    };
    let template = if checkpoint.chat_template().is_some() { "yes" } else { "none: it cannot chat" };
    for (name, value) in [
        ("name", summary.name.clone()),
        ("architecture", summary.architecture.clone()),
        ("parameters", terminal::parameters(summary.parameters)),
        ("quantisation", quantisation(model, &summary)),
        ("tensors", tensors.join(", ")),
        ("left out", left_out(&summary)),
        ("layers × width", format!("{} × {}", summary.layers, summary.hidden)),
        ("vocabulary", summary.vocabulary.to_string()),
        ("context", format!("{} tokens", context(model, &summary))),
        ("tokenizer", tokenizer),
        ("chat template", template.to_owned()),
        ("licence", summary.licence.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("adapter", checkpoint.adapter().map_or_else(|| "none".to_owned(), |it| adapter(&it))),
        ("file size", terminal::bytes(summary.file_bytes)),
        ("computed as", local::computation(model.compute)),
        ("memory needed", terminal::bytes(memory(model, &checkpoint, &summary))),
    ] {
        table.add_row([name, &value]);
    }
    let expanded = names(checkpoint.expanded(model.compute));
    if !expanded.is_empty() {
        let value = format!("{} to float32: cannot be computed packed", expanded.join(", "));
        table.add_row(["expanded", &value]);
    }
    say!("{table}");
    Ok(())
}

/// What the weights are stored as, and what is made of them.
fn quantisation(model: &ModelConfig, summary: &Summary) -> String {
    match model.quantize {
        Some(target) => format!("{}, {target} at load", summary.quantisation),
        None => summary.quantisation.clone(),
    }
}

fn adapter(adapter: &AdapterSummary) -> String {
    let AdapterSummary { path, mode, modules, parameters, rank } = adapter;
    let parameters = terminal::parameters(*parameters);
    format!("{}, {mode}: {parameters}, rank {rank}, on {modules} matrices", path.display())
}

/// What a folder holds beside the decoder.
fn left_out(summary: &Summary) -> String {
    match summary.left_out.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first, others @ ..] => format!("{first} and {} more tensors: only text is read", others.len()),
    }
}

fn context(model: &ModelConfig, summary: &Summary) -> u32 {
    model.context.map_or(summary.context, |context| context.min(summary.context))
}

/// The weights as computed, and the cache of one sequence as long as the context.
fn memory(model: &ModelConfig, checkpoint: &Checkpoint, summary: &Summary) -> u64 {
    checkpoint.memory_needed(model.compute, context(model, summary))
}

fn names(types: Vec<(String, u64)>) -> Vec<String> {
    types.into_iter().map(|(name, _)| name).collect()
}

fn to_json(model: &ModelConfig, checkpoint: &Checkpoint, summary: &Summary) -> Value {
    let tensors: serde_json::Map<String, Value> =
        summary.tensors.iter().map(|(kind, count)| (kind.clone(), Value::from(*count))).collect();
    let on_kernels = match model.compute {
        Compute::Cpu { precision, tier, .. } => Some((precision, tier.unwrap_or_else(Tier::best))),
        _ => None,
    };
    json!({
        "model": model.name,
        "name": summary.name,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "quantisation": summary.quantisation,
        "tensors": tensors,
        "left_out": summary.left_out.len(),
        "layers": summary.layers,
        "hidden": summary.hidden,
        "vocabulary": summary.vocabulary,
        "context": context(model, summary),
        "chat_template": checkpoint.chat_template().is_some(),
        "licence": summary.licence,
        "file_bytes": summary.file_bytes,
        "compute": model.compute.to_string(),
        "precision": on_kernels.map(|(precision, _)| precision.to_string()),
        "tier": on_kernels.map(|(_, tier)| tier.to_string()),
        "quantize": model.quantize.map(|target| target.to_string()),
        "adapter": checkpoint.adapter().map(|it| json!({
            "path": it.path, "mode": it.mode.to_string(), "modules": it.modules, "parameters": it.parameters,
            "rank": it.rank,
        })),
        "expanded": names(checkpoint.expanded(model.compute)),
        "memory_bytes": memory(model, checkpoint, summary),
    })
}
