//! Checkpoints: config, weights, tokenizer, and the forward pass.
