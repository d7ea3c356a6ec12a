//! `weighbridge check`: every mistake of a config at once.

use crate::config::{Config, Source};
use crate::failure::Failure;
use crate::local;
use crate::terminal;
use crate::terminal::say;

pub(crate) fn run(source: &Source) -> Result<(), Failure> {
    let Source::File(path, found) = source else {
        let message = "there is no config to check: name one with --config, or write weighbridge.toml here";
        return Err(Failure::usage(message));
    };
    let config = Config::read(path).map_err(Failure::Config)?;
    for note in &config.notes {
        anstream::eprintln!("\x1b[1;33mnote:\x1b[0m {note}");
    }
    // The files may be on another machine than this one, as the keys of providers may be.
    if let Some(Err(failure)) = config.tls.as_ref().map(super::serve::load_certificate) {
        anstream::eprintln!("\x1b[1;33mnote:\x1b[0m {failure}");
    }
    let mut table = terminal::table(&["route", "class", "prefer", "backends"]);
    for route in &config.routes {
        let backends: Vec<&str> = route.backends.iter().map(|backend| backend.as_str()).collect();
        table.add_row([&*route.name, route.class.as_str(), route.prefer.as_str(), &backends.join(", ")]);
    }
    say!("{table}");
    if config.pool.budget.is_some() {
        memory(&config)?;
    }
    let hosted: usize = config.providers.iter().map(|provider| provider.models.len()).sum();
    say!(
        "\x1b[1;32mno mistakes\x1b[0m in {} ({}): {} local, {hosted} hosted, {} routes",
        path.display(),
        found.as_str(),
        config.models.len(),
        config.routes.len()
    );
    Ok(())
}

/// What each local model takes of the budget. One that can never fit is a mistake, with figures.
fn memory(config: &Config) -> Result<(), Failure> {
    let plan = local::plan(config)?;
    let mut table = terminal::table(&["model", "memory", "weights", "pages", "context", "in memory"]);
    for (model, footprint) in plan.models() {
        let (pinned, kept) = (model.pinned, model.keep_alive);
        let context = model.options.context.map_or_else(String::new, |context| format!("{context} tokens"));
        let when = match kept {
            _ if pinned => "always".to_owned(),
            Some(kept) => format!("until idle for {} s", kept.as_secs_f32()),
            None => "until its room is needed".to_owned(),
        };
        table.add_row([
            model.options.id.to_string(),
            terminal::bytes(footprint.total()),
            terminal::bytes(footprint.weights),
            terminal::bytes(footprint.pages),
            context,
            when,
        ]);
    }
    say!("{table}");
    say!("memory for models together: {}", terminal::bytes(plan.budget().unwrap_or_default()));
    Ok(())
}
