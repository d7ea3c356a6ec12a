//! The demo model that the program carries, so that it answers wherever it is started from (ADR 0005).

use weighbridge_models::{Checkpoint, CheckpointError};

/// What it is called.
pub(crate) const NAME: &str = "demo";

macro_rules! demo_file {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/", $name)).as_slice())
    };
}

const FILES: &[(&str, &[u8])] = &[
    demo_file!("config.json"),
    demo_file!("generation_config.json"),
    demo_file!("tokenizer.json"),
    demo_file!("tokenizer_config.json"),
    demo_file!("model.safetensors"),
    demo_file!("README.md"),
];

/// Opens it.
pub(crate) fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_memory(NAME, FILES)
}
