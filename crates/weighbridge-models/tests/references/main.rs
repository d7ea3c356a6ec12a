//! Checkpoints held against what others compute for them: the demo model's reference, Hugging Face transformers,
//! candle's own models, and published vocabularies.

mod at_load;
mod batches;
mod candle;
mod converted;
mod core;
mod demo;
mod float8;
mod folders;
mod gguf;
mod lora;
mod quantise;
mod real;
mod stored;
mod stretch;
mod support;
mod vocabularies;
