//! `weighbridge logits`: what a checkpoint computes, to hold against its reference.

use std::path::Path;

use serde_json::json;
use weighbridge_models::{Compute, Evaluation, Precision, evaluate};

use crate::cli::LogitsArguments;
use crate::config::Source;
use crate::failure::Failure;
use crate::local;
use crate::terminal::say;
use crate::terminal::{self, LoadBar};

/// How many of the best tokens the table shows.
const BEST: usize = 10;

pub(crate) fn run(source: &Source, arguments: &LogitsArguments) -> Result<(), Failure> {
    let tokens = read_tokens(&arguments.tokens)?;
    let mut model = local::find(&arguments.model, source)?;
    let asked = &arguments.weights;
    let is_open = asked.compute.is_none() && asked.precision.is_none() && Path::new(&arguments.model).exists();
    if let (true, Compute::Cpu { precision, .. }) = (is_open, &mut model.compute) {
        // Nobody says how, and it is to be held against a reference.
        *precision = Precision::F32;
    }
    let model = local::with_weights(model, &arguments.weights);
    let checkpoint = local::open_model(&model)?;
    let decoder = {
        let bar = LoadBar::new(&model.name);
        checkpoint.load(model.compute, &mut |progress| bar.show(progress)).map_err(Failure::failed)?
    };
    let chunk = arguments.chunk.map(|chunk| chunk as usize);
    let evaluation = evaluate(&decoder, &tokens, chunk, arguments.greedy, checkpoint.stop_tokens())
        .map_err(|error| Failure::failed(format!("cannot compute these tokens: {error}")))?;
    if arguments.json {
        say!("{}", to_json(&evaluation));
    } else {
        print(&evaluation);
    }
    Ok(())
}

fn to_json(evaluation: &Evaluation) -> serde_json::Value {
    json!({
        "logits_last": evaluation.logits_last,
        "argmax": evaluation.argmax,
        "logsumexp": evaluation.logsumexp,
        "loss": evaluation.loss,
        "greedy": evaluation.greedy,
    })
}

fn print(evaluation: &Evaluation) {
    let mut best: Vec<(usize, f32)> = evaluation.logits_last.iter().copied().enumerate().collect();
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut table = terminal::table(&["token", "logit", "probability"]);
    let logsumexp = evaluation.logsumexp.last().copied().unwrap_or_default();
    for (token, logit) in best.into_iter().take(BEST) {
        table.add_row([
            token.to_string(),
            format!("{logit:.4}"),
            format!("{:.2} %", 100.0 * (logit - logsumexp).exp()),
        ]);
    }
    say!("{table}");
    say!(
        "positions {}   loss {:.5}   perplexity {:.4}",
        evaluation.argmax.len(),
        evaluation.loss,
        evaluation.loss.exp()
    );
    if !evaluation.greedy.is_empty() {
        say!("greedy {:?}", evaluation.greedy);
    }
}

/// `1,2,3`, or the same in a file named after an @.
fn read_tokens(argument: &str) -> Result<Vec<u32>, Failure> {
    let text = match argument.strip_prefix('@') {
        None => argument.to_owned(),
        Some(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|error| Failure::usage(format!("cannot read the tokens in {path}: {error}")))?,
    };
    let divides = |c: char| c.is_whitespace() || [',', '[', ']'].contains(&c);
    let words = text.split(divides).filter(|word| !word.is_empty());
    let token = |word: &str| {
        word.parse().map_err(|_| Failure::usage(format!("\"{word}\" is no token id; write 1,2,3 or @FILE")))
    };
    let tokens: Vec<u32> = words.map(token).collect::<Result<_, _>>()?;
    if tokens.is_empty() {
        return Err(Failure::usage("there are no tokens; write --tokens 1,2,3 or --tokens @FILE"));
    }
    Ok(tokens)
}
