//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use weighbridge_models::Compute;

/// A self-hosted inference gateway: one OpenAI API in front of models on this machine and hosted ones, each
/// request routed by rules on privacy, cost and quality.
#[derive(Debug, Parser)]
#[command(
    name = "weighbridge",
    version,
    max_term_width = 100,
    after_help = "Without a command it serves. The config is the file of --config, else of WEIGHBRIDGE_CONFIG, else \
                  weighbridge.toml in the working folder, else none: then it serves the model that it carries.\n\n\
                  Exit codes: 0 done, 1 failure, 2 bad usage or config."
)]
pub(crate) struct Cli {
    /// The config file to use
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the OpenAI API (what happens without a command)
    Serve(ServeArguments),
    /// Find every mistake in the config
    Check,
    /// Show which backends a request would go to, in which order and why, without sending it
    Explain(ExplainArguments),
    /// Look at models
    Models {
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// Chat with a model in the terminal
    Run(RunArguments),
    /// Compute logits, to check a checkpoint against its reference
    Logits(LogitsArguments),
    /// Work with callers' keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
}

impl Default for Command {
    fn default() -> Self {
        Self::Serve(ServeArguments::default())
    }
}

#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  weighbridge serve\n  weighbridge serve --listen 127.0.0.1:9000 ./SmolLM2-135M-Instruct.Q4_1.gguf\n  weighbridge serve --config config/weighbridge.toml"
)]
pub(crate) struct ServeArguments {
    /// Serve these checkpoints (folders or .gguf files) instead of what a config says
    #[arg(value_name = "PATH", conflicts_with = "config")]
    pub(crate) paths: Vec<PathBuf>,

    /// Listen on this address instead of the config's; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  echo '{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}' | weighbridge explain\n  weighbridge explain request.json --class restricted --json"
)]
pub(crate) struct ExplainArguments {
    /// The body of a chat completion; standard input where it is missing or -
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// A header that the request would have; may be given again
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// The class that the request would claim: the header x-weighbridge-class
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,

    /// The caller that would ask, by its name in the config
    #[arg(long, value_name = "NAME")]
    pub(crate) caller: Option<String>,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List the models of the config, or the one that the program carries
    List {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show what a checkpoint is: architecture, size, quantisation, context, licence, memory
    Inspect {
        /// A folder, a .gguf file, a model's name in the config, or demo
        #[arg(value_name = "MODEL")]
        model: String,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge run demo\n  weighbridge run demo 'Tell me a story about a fox and a lamp.'\n  echo 'What are open weights?' | weighbridge run demo --temperature 0"
)]
pub(crate) struct RunArguments {
    /// A folder, a .gguf file, a model's name in the config, or demo
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,

    /// Answer this once; without it, standard input is the prompt, or a chat where that is a terminal
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,

    /// A system message in front of the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// 0 is greedy; default: the checkpoint's own, else 1
    #[arg(long, value_name = "NUMBER")]
    pub(crate) temperature: Option<f32>,

    /// The same seed and conversation give the same text
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<i64>,

    /// The most tokens of an answer; default: what the context leaves
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,

    /// How to compute: float32 | quantized
    #[arg(long, value_name = "NAME")]
    pub(crate) compute: Option<Compute>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge logits demo --tokens 1,293,201 --greedy 16\n  weighbridge logits model.gguf --tokens @ids.txt --json"
)]
pub(crate) struct LogitsArguments {
    /// A folder, a .gguf file, a model's name in the config, or demo
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,

    /// Token ids, divided by commas or white space; @FILE reads them from a file
    #[arg(long, value_name = "IDS|@FILE")]
    pub(crate) tokens: String,

    /// Continue greedily by this many tokens, up to a stop token
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) greedy: usize,

    /// Compute the prompt in pieces of this many tokens instead of at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) chunk: Option<u32>,

    /// How to compute: float32 | quantized
    #[arg(long, value_name = "NAME", default_value_t = Compute::default())]
    pub(crate) compute: Compute,

    /// Print JSON: logits_last, argmax, logsumexp, loss, greedy
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the SHA-256 of the key on standard input, for [[callers]] key_sha256
    Hash,
}

fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    crate::config::parse_listen(text).ok_or("expected an address and a port, such as 127.0.0.1:8080")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
