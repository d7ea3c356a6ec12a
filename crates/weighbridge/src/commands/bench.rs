//! `weighbridge bench`: how fast a model is on this machine, and how near the machine's limits.

mod measure;
mod plot;
mod report;

use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use indicatif::ProgressBar;
use weighbridge_models::{Checkpoint, Decoder, limits, use_threads};

use self::measure::{Bench, Work};
use self::report::{LoadTime, Report};
use crate::cli::{BenchArguments, Count};
use crate::config::{ModelConfig, Source};
use crate::failure::Failure;
use crate::local;
use crate::terminal::{self, LoadBar, say};

pub(crate) fn run(source: &Source, arguments: &BenchArguments) -> Result<(), Failure> {
    if let Some(threads) = arguments.threads {
        // Nothing was computed yet.
        let _ = use_threads(threads as usize);
    }
    let model = local::with_weights(local::find(&arguments.model, source)?, &arguments.weights);
    let works = works(arguments);
    let start = Instant::now();
    let checkpoint = local::open_model(&model)?;
    let open_s = start.elapsed().as_secs_f64();
    let context = works.iter().map(Work::tokens).max().unwrap_or(0);
    let own = checkpoint.summary().context as usize;
    if context > own {
        let problem = format!("the longest work has {context} tokens, and the model's context {own}; ask for less");
        return Err(Failure::usage(problem));
    }

    let bar = terminal::steps_bar("measuring the machine", (works.len() * arguments.repeat as usize) as u64);
    let limits = limits(arguments.weights.tier).map_err(Failure::failed)?;
    let (decoder, load) = load(&model, &checkpoint)?;
    let load = LoadTime { whole_s: load.whole_s + open_s, ..load };
    let rates = measured(&decoder, &works, arguments.repeat, &bar)?;
    bar.finish_and_clear();

    let report = Report::new(&model, &decoder, limits, load, &works, rates);
    if let Some(path) = &arguments.svg {
        std::fs::write(path, plot::svg(&report))
            .map_err(|error| Failure::failed(format!("cannot write the plot to {}: {error}", path.display())))?;
    }
    match (arguments.json, arguments.csv) {
        (true, _) => report.json_lines().iter().for_each(|line| say!("{line}")),
        (_, true) => say!("{}", report.csv()),
        _ => say!("{}", report.table()),
    }
    Ok(())
}

/// Loads weights and vocabulary beside each other, as the engine does.
fn load(model: &ModelConfig, checkpoint: &Checkpoint) -> Result<(Decoder, LoadTime), Failure> {
    let bar = LoadBar::new(&model.name);
    let start = Instant::now();
    let (decoder, tokenizer_s) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| {
            // A model without one can be measured too.
            let _ = checkpoint.tokenizer();
            start.elapsed().as_secs_f64()
        });
        let decoder = checkpoint.load(model.compute, &mut |progress| bar.show(progress));
        (decoder, tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    Ok((decoder.map_err(Failure::failed)?, LoadTime { whole_s: start.elapsed().as_secs_f64(), tokenizer_s }))
}

/// What is measured, in the order of the peer's script.
fn works(arguments: &BenchArguments) -> Vec<Work> {
    let prompts = arguments.pp.0.iter().map(|&Count(tokens)| Work::Prompt { tokens });
    let answers = arguments.tg.0.iter().map(|depth| Work::Answer { tokens: depth.tokens, depth: depth.at });
    let (prompt, answer) = (arguments.prompt as usize, arguments.answer as usize);
    let streams = arguments.streams.0.iter().map(|&Count(count)| Work::Streams { count, prompt, answer });
    prompts.chain(answers).chain(streams).collect()
}

/// Tokens a second of each work in each round. Rounds go through all works in turn, so that a slow minute of the machine
/// falls on all of them.
fn measured(decoder: &Decoder, works: &[Work], rounds: u32, bar: &ProgressBar) -> Result<Vec<Vec<f64>>, Failure> {
    let mut bench = Bench::new(decoder);
    let failed = |error| Failure::failed(format!("cannot compute: {error}"));
    bench.warm_up().map_err(failed)?;
    let mut rates = vec![Vec::new(); works.len()];
    for _ in 0..rounds {
        for (work, rates) in works.iter().zip(&mut rates) {
            bar.set_message(work.to_string());
            rates.push(bench.run(work).map_err(failed)?);
            bar.inc(1);
        }
    }
    Ok(rates)
}
