//! `weighbridge check`: every mistake of a config at once.

use crate::config::{Config, Source};
use crate::failure::Failure;
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
    let mut table = terminal::table(&["route", "class", "prefer", "backends"]);
    for route in &config.routes {
        let backends: Vec<&str> = route.backends.iter().map(|backend| backend.as_str()).collect();
        table.add_row([&*route.name, route.class.as_str(), route.prefer.as_str(), &backends.join(", ")]);
    }
    say!("{table}");
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
