//! The program: reads the command line and the config, builds the backends, serves, drains. The only place
//! that knows all the others, and the only one that knows exit codes.

mod bundled;
mod cli;
mod commands;
mod config;
mod data;
mod failure;
mod hub;
mod local;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Before any other thread is there.
    weighbridge_kernels::threads::settle();
    let cli = Cli::parse();
    let source = config::Source::find(cli.config.as_deref());
    let done = match cli.command.unwrap_or_default() {
        Command::Serve(arguments) => commands::serve::run(source, &arguments),
        Command::Check => commands::check::run(&source),
        Command::Explain(arguments) => commands::explain::run(&source, &arguments),
        Command::Models { command } => commands::models::run(&source, command),
        Command::Run(arguments) => commands::run::run(&source, &arguments),
        Command::Logits(arguments) => commands::logits::run(&source, &arguments),
        Command::Bench(arguments) => commands::bench::run(&source, &arguments),
        Command::Keys { command: cli::KeysCommand::Hash } => commands::keys::hash(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
