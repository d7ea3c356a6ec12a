//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use weighbridge_models::{AdapterMode, Compute, KvType, Precision, QuantizedType, Tier};

use crate::config::Listen;

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
    /// Get models, and look at them
    Models {
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// Chat with a model in the terminal
    Run(RunArguments),
    /// Compute logits, to check a checkpoint against its reference
    Logits(LogitsArguments),
    /// Measure how fast a model is on this machine, and how near the machine's limits
    Bench(BenchArguments),
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
    /// Serve these checkpoints (folders, .gguf files, or models that were pulled) instead of what a config says
    #[arg(value_name = "MODEL", conflicts_with = "config")]
    pub(crate) paths: Vec<PathBuf>,

    /// Listen here instead of where the config says; port 0 takes a free one; may be given again
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH", value_parser = parse_listen)]
    pub(crate) listen: Vec<Listen>,
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
    /// List the models of the config, or the one that the program carries, and those that were pulled
    List {
        /// List models that can be pulled by a short name instead
        #[arg(long)]
        known: bool,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show what a checkpoint is: architecture, size, quantisation, context, licence, memory
    Inspect {
        /// A folder, a .gguf file, hf:ORG/NAME[:QUANT] or its name if it was pulled, a name in the config, or demo
        #[arg(value_name = "MODEL")]
        model: String,
        #[command(flatten)]
        weights: WeightsArguments,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Write a .gguf file with smaller numbers, of a .gguf file or a Hugging Face folder
    Quantize(QuantizeArguments),
    /// Fetch a model from the hub, or go on with a pull that broke off
    Pull(PullArguments),
    /// Read the files of models that were pulled, and hold them to their digests
    Verify {
        /// hf:ORG/NAME or a name; default: all
        #[arg(value_name = "MODEL")]
        model: Option<String>,
    },
    /// Remove a model that was pulled
    Remove {
        /// hf:ORG/NAME, hf:ORG/NAME:QUANT, or a name
        #[arg(value_name = "MODEL")]
        model: String,
    },
    /// Show where the local models of a running gateway stand
    Status {
        /// Its name in the config of the gateway; default: all
        #[arg(value_name = "MODEL")]
        model: Option<String>,
        #[command(flatten)]
        gateway: GatewayArguments,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Have a running gateway load a model, and wait until it is there
    Load {
        /// Its name in the config of the gateway
        #[arg(value_name = "MODEL")]
        model: String,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// Have a running gateway unload a model that nobody uses, or cancel its load, and wait until its memory is free
    Unload {
        /// Its name in the config of the gateway
        #[arg(value_name = "MODEL")]
        model: String,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
}

/// A gateway that is running.
#[derive(Debug, Default, Args)]
pub(crate) struct GatewayArguments {
    /// Where it is; default: the address that the config listens on, else http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// The environment variable that holds the key of a caller with admin = true
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) key_env: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge models quantize model-bf16.gguf model-q4_k_m.gguf --type q4_k_m\n  weighbridge models quantize ./Qwen3-0.6B qwen3-0.6b-q8_0.gguf --type q8_0"
)]
pub(crate) struct QuantizeArguments {
    /// A .gguf file, of a split model the first, or a Hugging Face folder of a family that gguf files have
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// The .gguf file to be written; nothing may be there yet
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// f32, f16, bf16, q8_0, q6_k, q4_k_m or q4_0
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) target: QuantizedType,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge models pull qwen3-0.6b\n  weighbridge models pull hf:Qwen/Qwen3-0.6B-GGUF:Q8_0\n  weighbridge models pull llama-3.2-1b-instruct --token-env HF_TOKEN\n\nHF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 (or offline = true in [hub] of the config) lets no request out,\nand models lie in models/ of the data directory, which WEIGHBRIDGE_DATA_DIR names."
)]
pub(crate) struct PullArguments {
    /// hf:ORG/NAME, hf:ORG/NAME:QUANT, hf:ORG/NAME:FILE.gguf, or a short name of `models list --known`
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,

    /// The environment variable that holds the token for private and gated repositories
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) token_env: Option<String>,

    /// A branch, a tag or a commit; default: what is here stays at its commit, and what is new comes from main
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,

    /// Move what is here to the newest commit, or to that of --revision
    #[arg(long)]
    pub(crate) update: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge run demo\n  weighbridge run demo 'Tell me a story about a fox and a lamp.'\n  echo 'What are open weights?' | weighbridge run demo --temperature 0"
)]
pub(crate) struct RunArguments {
    /// A folder, a .gguf file, hf:ORG/NAME[:QUANT] or its name if it was pulled, a name in the config, or demo
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

    #[command(flatten)]
    pub(crate) weights: WeightsArguments,
}

/// How the weights of a model are taken in.
#[derive(Debug, Default, Args)]
pub(crate) struct WeightsArguments {
    /// How to compute: cpu (our kernels) | reference (float32 by candle) | quantized (packed, by candle); default: the
    /// config's, else cpu where the processor has AVX2
    #[arg(long, value_name = "NAME")]
    pub(crate) compute: Option<Compute>,

    /// How exactly cpu computes: f32 (weights widened) | exact (activations of 16 bits) | fast (of 8 bits); default:
    /// exact, and f32 for logits and for models under 64 MiB
    #[arg(long, value_name = "NAME")]
    pub(crate) precision: Option<Precision>,

    /// The instructions that cpu uses: scalar | avx2 | avx512; default: the best there are
    #[arg(long, value_name = "NAME")]
    pub(crate) tier: Option<Tier>,

    /// What cpu keeps keys and values as: f32 | f16 | q8_0 (8 bits, a scale for each 32); default: f16, and f32 with the
    /// precision f32
    #[arg(long, value_name = "TYPE")]
    pub(crate) kv: Option<KvType>,

    /// Quantise the weights as they load: q8_0 | q6_k | q4_k_m | q4_0
    #[arg(long, value_name = "TYPE", value_parser = parse_blocks)]
    pub(crate) quantize: Option<QuantizedType>,

    /// A LoRA adapter: a folder as PEFT writes it
    #[arg(long, value_name = "FOLDER")]
    pub(crate) adapter: Option<PathBuf>,

    /// What becomes of the adapter: merged | apart
    #[arg(long, value_name = "MODE", requires = "adapter")]
    pub(crate) adapter_mode: Option<AdapterMode>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge logits demo --tokens 1,293,201 --greedy 16\n  weighbridge logits model.gguf --tokens @ids.txt --json"
)]
pub(crate) struct LogitsArguments {
    /// A folder, a .gguf file, hf:ORG/NAME[:QUANT] or its name if it was pulled, a name in the config, or demo
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

    #[command(flatten)]
    pub(crate) weights: WeightsArguments,

    /// Print JSON: logits_last, argmax, logsumexp, loss, greedy
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weighbridge bench model.gguf\n  weighbridge bench model.gguf --threads 2 --pp 512,4096 --tg 64@0,64@8192 --streams 1,4,16\n  weighbridge bench demo --precision fast --json\n  weighbridge bench model.gguf --svg bench.svg"
)]
pub(crate) struct BenchArguments {
    /// A folder, a .gguf file, hf:ORG/NAME[:QUANT] or its name if it was pulled, a name in the config, or demo
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,

    /// Threads that compute; default: one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: Option<u32>,

    /// Prompts of so many tokens; "" for none
    #[arg(long, value_name = "N,…", default_value = "512")]
    pub(crate) pp: List<Count>,

    /// Answers of so many tokens, each after a prompt of so many; "" for none
    #[arg(long, value_name = "N@DEPTH,…", default_value = "64@0")]
    pub(crate) tg: List<Depth>,

    /// So many sequences at once
    #[arg(long, value_name = "N,…", default_value = "")]
    pub(crate) streams: List<Count>,

    /// Prompt tokens of each of these sequences
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) prompt: u32,

    /// Answer tokens of each of these sequences
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) answer: u32,

    /// Rounds, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,

    #[command(flatten)]
    pub(crate) weights: WeightsArguments,

    /// Print one JSON object a line
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Print comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,

    /// Draw the shares of the limits into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// `64@8192`: an answer of 64 tokens after a prompt of 8192.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) tokens: usize,
    pub(crate) at: usize,
}

impl FromStr for Depth {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected N or N@DEPTH, such as 64@8192, with N from 1";
        let (tokens, at) = text.split_once('@').unwrap_or((text, "0"));
        let Count(tokens) = tokens.parse().map_err(|_| EXPECTED)?;
        Ok(Self { tokens, at: at.parse().map_err(|_| EXPECTED)? })
    }
}

/// A number from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|&count| count > 0).map(Self).ok_or("expected a whole number from 1")
    }
}

/// What stands between commas; nothing where the text is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').filter(|_| !text.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the SHA-256 of the key on standard input, for [[callers]] key_sha256
    Hash,
}

fn parse_blocks(text: &str) -> Result<QuantizedType, String> {
    let known = QuantizedType::BLOCKS.contains(&text.to_ascii_lowercase().as_str());
    let expected = || format!("expected one of {}", QuantizedType::BLOCKS.join(", "));
    if known { text.parse().map_err(|_| expected()) } else { Err(expected()) }
}

fn parse_listen(text: &str) -> Result<Listen, &'static str> {
    crate::config::parse_listen(text)
        .ok_or("expected an address and a port, such as 127.0.0.1:8080, or unix: and the absolute path of a socket")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn lists_may_be_empty_and_their_counts_may_not() {
        assert_eq!("".parse(), Ok(List::<Count>(Vec::new())));
        assert_eq!("1,16".parse(), Ok(List(vec![Count(1), Count(16)])));
        assert_eq!("2@4".parse(), Ok(List(vec![Depth { tokens: 2, at: 4 }])));
        for wrong in ["0", "1,", ",", "-1", "1;2"] {
            assert!(wrong.parse::<List<Count>>().is_err(), "{wrong}");
        }
        assert!("0@4".parse::<List<Depth>>().is_err());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
