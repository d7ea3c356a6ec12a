//! The demo model against candle-transformers' own Llama, a second opinion from other code.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use weighbridge_models::{Checkpoint, Compute, Rows};

use crate::demo;
use crate::support::{Outcome, error, json, load, repository};

fn other() -> Outcome<(Llama, Cache)> {
    let mut raw: serde_json::Map<String, serde_json::Value> = json(&repository("models/demo/config.json"))?;
    // This reader knows the older style alone.
    raw.insert("rope_theta".to_owned(), 10_000.0.into());
    let config: LlamaConfig = serde_json::from_value(raw.into())?;
    let config = config.into_config(false);
    let tensors = candle_core::safetensors::load(repository("models/demo/model.safetensors"), &Device::Cpu)?;
    let tensors: HashMap<_, _> =
        tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?))).collect::<Outcome<_>>()?;
    let model = Llama::load(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &config)?;
    Ok((model, Cache::new(true, DType::F32, &config, &Device::Cpu)?))
}

#[test]
fn the_demo_model_is_computed_as_by_candle_transformers() -> Outcome {
    let decoder = load(&Checkpoint::open(&repository("models/demo"))?, Compute::Float32)?;
    for case in demo::cases()? {
        let (model, mut cache) = other()?;
        let tokens = Tensor::new(case.tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let expected: Vec<f32> = model.forward(&tokens, 0, &mut cache)?.flatten_all()?.to_vec1()?;
        let found = decoder.forward(&case.tokens, &mut decoder.new_cache(), Rows::Last)?;
        let worst = error(found.last(), &expected);
        assert!(worst <= 1e-3, "the logits are off by {worst}");
    }
    Ok(())
}
